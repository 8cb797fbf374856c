"""The language model's matrices in 4 bits (NF4), by bitsandbytes; the rest keeps its precision.

Nothing here imports torch: a configuration is checked before the first job.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.base.launch import visible_gpus

if TYPE_CHECKING:
    import torch

KEPT = (  # parts of any family beside the language model's blocks
    "lm_head",
    "model.vision_tower",
    "model.vision_model",
    "model.visual",
    "model.multi_modal_projector",
    "model.connector",
)


def check(quantization: str, sharding: str) -> None:
    """What 4 bits need is there: the package, and a GPU or a cluster that may have some.

    Raises:
        InputError: it is not, or the weights are to be divided among the GPUs as well.
    """
    if quantization == "none":
        return
    if find_spec("bitsandbytes") is None:
        raise InputError(
            f"backbone.quantization {quantization}: needs bitsandbytes, which is not installed; "
            'pip install "cmit-pipeline[quantized]".'
        )
    if not visible_gpus() and not shutil.which("sbatch"):
        raise InputError(
            f"backbone.quantization {quantization}: needs a GPU, and none is here; set it to none."
        )
    if sharding != "none":
        raise InputError(
            f"backbone.quantization {quantization}: weights in 4 bits cannot be divided; set "
            "training.sharding to none."
        )


def options(quantization: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What ``from_pretrained`` is told; nothing without quantization.

    Args:
        dtype: of the activations.

    Raises:
        InputError: a device without it.
    """
    if quantization == "none":
        return {}
    if device.type != "cuda":
        raise InputError(
            f"backbone.quantization {quantization}: needs a GPU, and this job runs on the "
            f"{device.type.upper()}; set it to none."
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(KEPT),  # of 4 bits too
    )
    return {"quantization_config": config, "device_map": {"": device}}

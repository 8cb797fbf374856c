"""The frozen multimodal backbone: loading, token losses, features, greedy decoding."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.families import registry as families
from stages.core.backbone.prompts import Prompter
from stages.core.backbone.slots import Slot, find_slots
from stages.core.base import distributed
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

NEEDED = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # no pickled weights
DTYPES = ("auto", "float32", "bfloat16")


@dataclass
class Backbone:
    """A pretrained model with all weights frozen, its prompter and its slots."""

    model: nn.Module
    prompter: Prompter
    slots: list[Slot]
    device: torch.device
    path: str

    @property
    def place(self) -> str:
        """Device and precision, for provenance records: they decide the last bits."""
        return f"{self.device.type} {str(self.model.dtype).removeprefix('torch.')}"

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Tensors of a batch on the backbone's device; pixels in the backbone's precision."""
        moved = {
            key: value.to(self.device) if hasattr(value, "to") else value
            for key, value in batch.items()
        }
        if "pixel_values" in moved:
            moved["pixel_values"] = moved["pixel_values"].to(self.model.dtype)
        return moved


def pick_device() -> torch.device:
    """The process's own GPU if there is one (``LOCAL_RANK`` under torchrun), else the CPU.

    Raises:
        InputError: the job was given GPUs and this build of torch could use them, but does not
            see any.
    """
    import os

    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        if given and torch.version.cuda:
            raise InputError(
                f"GPU {given} was given to this job, but torch {torch.__version__} cannot use it. "
                "See nvidia-smi on the node; in a container --nv is needed (--apptainer-args)."
            )
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the processor multiplies it natively, else float32."""
    import torch

    if name == "auto":
        native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if native else "float32"
    return getattr(torch, name)


def check_folder(path: Path) -> None:
    """A backbone folder has its configuration, tokenizer, preprocessing and safetensors weights.

    Raises:
        InputError: the folder or one of its files is missing.
    """
    if not path.is_dir():
        raise InputError(
            f"backbone {path}: no such folder. `make demo` assembles the pocket backbone; "
            "for another one set backbone.path to a local folder."
        )
    config = path / "config.json"
    if config.is_file() and json.loads(config.read_text()).get("model_type") == "internvl_chat":
        raise InputError(
            f"backbone {path}: has the published layout, whose code is never run. Convert it once: "
            f"python -m stages.tools.convert_backbone {path} {path}-native"
        )
    missing = [name for name in NEEDED if not (path / name).is_file()]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        missing += sorted(name for name in shards if not (path / name).is_file())
    elif not (path / "model.safetensors").is_file():
        missing.append("model.safetensors")
    if missing:
        raise InputError(f"backbone {path}: missing {', '.join(missing)}.")


def local_folder(path: str | Path, revision: str | None) -> Path:
    """A backbone's folder; of a model on the Hugging Face hub the cached files of a commit.

    What the cache lacks is downloaded, unless ``HF_HUB_OFFLINE`` is set.

    Raises:
        InputError: the hub has no such model or commit, or cannot be reached.
    """
    if revision is None or Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(path), revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"backbone {path} at {revision}: {reason} On a node without network, load it once "
            "where there is one: `hf download`, with the same HF_HOME."
        ) from None


def load_backbone(path: str | Path, settings: dict[str, Any]) -> Backbone:
    """Load a native ``transformers`` image-text-to-text model, frozen, in eval mode.

    Args:
        path: local folder, or the id of a hub model.
        settings: the config's ``backbone`` section (revision, dtype, image_size, max_tiles).

    Raises:
        InputError: missing files, an architecture transformers does not know natively, or one
            whose slots cannot be found.

    Also where the processes of a stage find each other (see ``stages.core.base.distributed``).
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = local_folder(path, settings.get("revision"))
    check_folder(folder)
    device = pick_device()
    distributed.connect()
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=_pick_dtype(settings["dtype"], device),
            # on CPUs and at our lengths plain attention is a sixth faster per training step
            attn_implementation="eager" if device.type == "cpu" else None,
            use_safetensors=True,
        )
    except (ValueError, KeyError) as error:
        raise InputError(f"backbone {path}: {error}") from None
    model.requires_grad_(False).eval().to(device)
    # torch copies the whole head once per row for a strided (B, 1, d), as the prefill's last is
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: given[0].contiguous())
    prompter = load_prompter(folder, families.load(folder, model.config, settings))
    return Backbone(model, prompter, find_slots(model), device, str(path))


def load_prompter(path: Path, images: families.Family) -> Prompter:
    """The folder's tokenizer with what its family says of images and turns."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = images.chat_template or tokenizer.chat_template
    if images.end_of_turn:
        tokenizer.eos_token = images.end_of_turn
    return Prompter(tokenizer, images)


# --- training objective ---------------------------------------------------------------------


# --- features (Eqs. 6-7) -----------------------------------------------------------------------


# --- decoding -------------------------------------------------------------------------------

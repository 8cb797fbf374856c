"""The frozen multimodal backbone, loaded so that every weight is the folder's."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import quantization
from stages.core.backbone.families import registry as families
from stages.core.backbone.folder import check_folder, read_object
from stages.core.backbone.prompts import Prompter
from stages.core.backbone.sharding import shard
from stages.core.backbone.slots import Slot, find_slots
from stages.core.base import distributed
from stages.core.base.errors import InputError, first_line
from stages.core.base.reading import check_finite

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import GenerationConfig

NO_MATTER = {  # in generation_config.json: tasks say how long answers are, the rest changes none
    *("_from_model_config", "transformers_version", "max_length", "max_new_tokens", "use_cache"),
    *("output_attentions", "output_hidden_states", "output_logits", "output_scores"),
}
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # no pickled weights


@dataclass
class Backbone:
    """A pretrained model with all weights frozen, its prompter and its slots."""

    model: nn.Module
    prompter: Prompter
    slots: list[Slot]
    device: torch.device
    path: str
    workers: int = 0  # processes that prepare the next rows

    @property
    def place(self) -> str:
        """Device and precision, for provenance records: they decide the last bits."""
        return f"{self.device.type} {str(self.model.dtype).removeprefix('torch.')}"

    def to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Tensors of a batch on the backbone's device; pixels normalised, in its precision."""
        moved = {
            key: value.to(self.device) if hasattr(value, "to") else value
            for key, value in batch.items()
        }
        if "pixel_values" in moved:
            pixels = self.prompter.images.normalised(moved["pixel_values"])
            moved["pixel_values"] = pixels.to(self.model.dtype)
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


def named_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        InputError: torch knows none of this name, or does not see it.
    """
    import torch

    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; try cpu or cuda.") from None


def _pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 where the processor multiplies it natively, else float32."""
    import torch

    if name == "auto":
        native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
        name = "bfloat16" if native else "float32"
    return getattr(torch, name)


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
        reason = first_line(error)
        raise InputError(
            f"backbone {path} at {revision}: {reason} On a node without network, load it once "
            "where there is one: `hf download`, with the same HF_HOME."
        ) from None


def load_backbone(
    path: str | Path, settings: dict[str, Any], device: str | None = None, sharding: str = "none"
) -> Backbone:
    """Load a native ``transformers`` image-text-to-text model, frozen, in eval mode.

    Args:
        path: local folder, or the id of a hub model.
        settings: the config's ``backbone`` section (revision, dtype, quantization, image_size,
            max_tiles).
        device: such as ``cpu`` or ``cuda:1``; None is :func:`pick_device`'s.
        sharding: ``fsdp`` divides the language model among the processes, see ``sharding``.

    Raises:
        InputError: missing or damaged files, weights that do not fit or are not finite, an
            architecture transformers does not know natively, or one whose slots cannot be found.

    Also where the processes of a stage find each other (see ``stages.core.base.distributed``).
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = local_folder(path, settings.get("revision"))
    check_folder(folder)
    place = pick_device() if device is None else named_device(device)
    distributed.connect()
    model = _pretrained(path, folder, settings, place)
    model.requires_grad_(False).eval()
    images = families.load(folder, model.config, settings)
    if sharding == "fsdp":
        shard(images.language_model(model), place)
    model.to(place)
    # torch copies the whole head once per row for a strided (B, 1, d), as the prefill's last is
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: given[0].contiguous())
    prompter = load_prompter(folder, images)
    prompter.max_length = settings.get("max_length")
    model.generation_config = greedy(prompter.tokenizer, folder)
    return Backbone(model, prompter, find_slots(model), place, str(path))


def _pretrained(
    path: str | Path, folder: Path, settings: dict[str, Any], device: torch.device
) -> nn.Module:
    """The model with all weights from the folder, none of them made up."""
    from transformers import AutoModelForImageTextToText, GenerationConfig
    from transformers.utils import logging

    dtype = _pick_dtype(settings["dtype"], device)
    quantized = quantization.options(settings.get("quantization", "none"), device, dtype)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # what its report says is an error here
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            # on CPUs and at our lengths plain attention is a sixth faster per training step
            attn_implementation="eager" if device.type == "cpu" else None,
            use_safetensors=True,
            generation_config=GenerationConfig(),  # the folder's is not read, see ``greedy``
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **quantized,
        )
    except Exception as error:  # a wrong config.json fails anywhere in transformers
        raise InputError(f"backbone {path}: cannot be loaded: {first_line(error)}") from None
    finally:
        logging.set_verbosity(verbosity)
    _check_loaded(path, found)
    check_finite(dict(model.named_parameters()), f"backbone {path}", "Get the folder again.")
    return model


def _check_loaded(path: str | Path, found: dict[str, Any]) -> None:
    """Raises :class:`InputError` if a weight was left as it was made, left over, or of another
    shape; transformers would go on with random numbers. Tied weights are no fault."""
    wrong = {
        "missing": sorted(found["missing_keys"]),
        "not known to the model": sorted(found["unexpected_keys"]),
        "of another shape": sorted(
            f"{name} {tuple(stored)} instead of {tuple(wanted)}"
            for name, stored, wanted in found["mismatched_keys"]
        ),
    }
    told = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in wrong.items()
        if names
    ]
    if told:
        raise InputError(
            f"backbone {path}: its weights do not fit its config.json: {'; '.join(told)}. "
            "Nothing is filled in; get the folder again, or save the whole model once more."
        )


def greedy(tokenizer: Any, folder: Path) -> GenerationConfig:
    """How answers are decoded: greedily, whatever the folder's generation_config.json says."""
    from transformers import GenerationConfig

    own = GenerationConfig(
        do_sample=False,
        num_beams=1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    file = folder / "generation_config.json"
    said = read_object(file) if file.is_file() else {}
    ignored = sorted(key for key in said if not key.endswith("token_id") and key not in NO_MATTER)
    if ignored and distributed.is_first():
        print(f"{file}: decoding is greedy; ignored: {', '.join(ignored)}.", file=sys.stderr)
    return own


def load_prompter(path: Path, images: families.Family) -> Prompter:
    """The folder's tokenizer with what its family says of images and turns.

    Raises:
        InputError: a tokenizer that cannot be read, or without chat template or eos token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # the tokenizers library raises bare exceptions
        reason = first_line(error)
        raise InputError(f"backbone {path}: its tokenizer cannot be read: {reason}") from None
    tokenizer.chat_template = images.chat_template or tokenizer.chat_template
    if images.end_of_turn:
        tokenizer.eos_token = images.end_of_turn
    if tokenizer.chat_template is None:
        raise InputError(
            f"backbone {path}: its tokenizer has no chat template (chat_template in "
            "tokenizer_config.json, or chat_template.jinja), so turns cannot be told apart."
        )
    if tokenizer.eos_token_id is None:
        raise InputError(f"backbone {path}: its tokenizer has no eos_token to end answers with.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token will do
    text = images.config.get_text_config()
    return Prompter(tokenizer, images, getattr(text, "max_position_embeddings", None))

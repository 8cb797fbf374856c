"""What alignment adds to the pocket backbone's parts: one safetensors file of small tensors.

A weight ``w`` of the model appears either whole (key ``w``: projector, norms, biases) or as a
low-rank update (keys ``w.lora_A`` of shape (rank, in) and ``w.lora_B`` of shape (out, rank), the
LoRA scaling already inside), so that the merged weight is ``w + lora_B @ lora_A``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base.errors import InputError

if TYPE_CHECKING:
    import torch

DOWN, UP = ".lora_A", ".lora_B"
FILE = "delta.safetensors"


def read_delta(path: Path) -> dict[str, "torch.Tensor"]:
    """The tensors of a delta file by name.

    Raises:
        InputError: the file is missing.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(
            f"{path}: no delta there. Run stages.pocket.align_backbone, or --without-delta."
        )
    return load_file(path)


def apply_delta(state: dict[str, "torch.Tensor"], delta: dict[str, "torch.Tensor"]) -> dict:
    """A new state dict with the delta merged in; untouched tensors are shared, not copied.

    The product and the sum are taken in float64: the order in which a BLAS adds may differ
    between machines, but then only far below the last bit of the bfloat16 result.

    Raises :class:`InputError` for a tensor the model lacks, or of the wrong shape.
    """
    merged = dict(state)
    for key, value in delta.items():
        if key.endswith(UP):
            continue
        name = key.removesuffix(DOWN)
        if name not in state:
            raise InputError(f"delta: {name!r} is no weight of the backbone; wrong delta file?")
        base = state[name].double()
        if key.endswith(DOWN):
            result = delta[name + UP].double() @ value.double()  # (out, rank) @ (rank, in)
        else:
            result = value.double()
        if result.shape != base.shape:
            raise InputError(
                f"delta: {name!r} has shape {tuple(result.shape)}, "
                f"the backbone's is {tuple(base.shape)}."
            )
        merged[name] = base + result if key.endswith(DOWN) else result
    return merged


def extract_delta(model: "torch.nn.Module", dtype: "torch.dtype") -> dict[str, "torch.Tensor"]:
    """The delta of a model in alignment: all that is trainable, under the names above."""
    delta = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            for ending in (DOWN, UP):
                name = name.replace(ending, f".weight{ending}")
            delta[name] = weight.detach().to("cpu", dtype).contiguous()
    return dict(sorted(delta.items()))

"""Batch sizes of the GPU stages that fit a GPU's memory.

``auto`` is the largest that fits, by the formulas of ``core.costs.memory``; on a CPU, where memory
is no such matter, it is a fixed number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from stages.core.backbone.architecture import Architecture, describe
from stages.core.backbone.batches import BatchSize, Size, largest, training_size
from stages.core.backbone.features import CLOSING, OPENING
from stages.core.backbone.slots import Slot
from stages.core.base import distributed
from stages.core.base.errors import InputError
from stages.core.costs import memory
from stages.core.costs.flops import Learning, Sample
from stages.core.costs.memory import Memory
from stages.core.training.batches import Largest, Step, micro_batch_sizes

if TYPE_CHECKING:
    import torch
    from torch import nn

    from stages.core.backbone.load import Backbone

SHARE = 0.85  # of a GPU's memory that is filled; what is left is CUDA's own, work space, our error
USUAL = {"profile": 8, "features": 16, "prediction": 16}  # of "auto" on a CPU
MOST = 64  # of "auto": more at a time makes a GPU no faster
GB = 1e9


@dataclass(frozen=True)
class Batch:
    """How a stage's forward passes are made, and the memory that it takes."""

    size: int
    checkpointing: bool
    memory: Memory


def room(asked: str, device: torch.device) -> float | None:
    """Bytes of the GPU that a stage works on; None on a CPU.

    Args:
        asked: key ``gpus.memory``: gigabytes, or ``auto`` for what the device says.

    Raises:
        InputError: neither a number nor ``auto``.
    """
    import torch

    try:
        given = None if asked == "auto" else GB * float(asked)
    except ValueError:
        raise InputError(f"--gpu-memory {asked!r}: give auto, or gigabytes.") from None
    if device.type == "cpu":
        return None
    return given or torch.cuda.get_device_properties(device).total_memory


def best(
    needs: Callable[[int, bool], Memory],
    sizes: Iterable[int],
    modes: Sequence[bool],
    bytes_there: float,
) -> Batch:
    """The first mode, and in it the first size, that fits; if none does, the last of both.

    Args:
        needs: memory by size and mode (activation checkpointing).
        sizes: the largest first.
    """
    for mode, size in product(modes, sizes):
        batch = Batch(size, mode, needs(size, mode))
        if batch.memory.total <= SHARE * bytes_there:
            break
    return batch


def sizes_of(asked: int | str) -> Sequence[int]:
    """The batch sizes that a key allows, the largest first."""
    return range(MOST, 0, -1) if asked == "auto" else [int(asked)]


def modes_of(asked: bool | str) -> Sequence[bool]:
    """Whether to checkpoint: the key's value, or with ``auto`` only if it must be."""
    return [False, True] if asked == "auto" else [bool(asked)]


def _by_size(
    arch: Architecture,
    needs: Callable[[Sample, int, bool], Memory],
    asked: int | str,
    there: float,
    checkpointing: bool = False,
) -> Callable[[Size], int]:
    """Rows at a time by the size of the largest; printed for the first, which is the longest."""
    sizes, told_it = sizes_of(asked), False

    def most(size: Size) -> int:
        nonlocal told_it
        sample = _sample(arch, size)
        one, two = (needs(sample, n, checkpointing).total for n in (1, 2))
        fit = (SHARE * there - one) // (two - one) + 1  # every formula is a line
        found = min(max(int(fit), sizes[-1]), sizes[0])
        if not told_it and distributed.is_first():
            batch = Batch(found, checkpointing, needs(sample, found, checkpointing))
            print(told(batch, there), flush=True)
        told_it = True
        return found

    return most


def usual(stage: str, asked: int | str) -> int:
    """The batch size of a stage where no memory decides."""
    return USUAL[stage] if asked == "auto" else int(asked)


def _sample(arch: Architecture, size: Size) -> Sample:
    return Sample(size.image_tokens / arch.tile_tokens, size.tokens, size.answer)


def told(batch: Batch, there: float) -> str:
    """A choice in words."""
    again = ", activation checkpointing on" if batch.checkpointing else ""
    need, most = batch.memory.total / GB, there / GB
    return f"{batch.size} samples at a time{again}: {need:.1f} GB of the GPU's {most:.1f} GB"


def _described(backbone: Backbone) -> Architecture:
    return describe(backbone.model, backbone.prompter.images, backbone.path)


def profile_batch(
    backbone: Backbone, rows: Sequence[dict[str, Any]], asked: int | str, there: float | None
) -> tuple[BatchSize, bool]:
    """Batch sizes of a profile of rows of the data artefact, and whether it checkpoints."""
    if there is None:
        return usual("profile", asked), False
    arch = _described(backbone)

    def needs(sample: Sample, size: int, checkpointing: bool) -> Memory:
        return memory.profile(arch, sample, size, checkpointing=checkpointing)

    most = largest([training_size(backbone.prompter, row) for row in rows])
    of_largest = partial(needs, _sample(arch, most))
    again = best(of_largest, sizes_of(asked), (False, True), there).checkpointing
    return _by_size(arch, needs, asked, there, again), again


def features_batch(
    backbone: Backbone, texts: Sequence[Sequence[str]], asked: int | str, there: float | None
) -> int:
    """Batch size of the features of images and of requests."""
    if there is None:
        return usual("features", asked)
    arch, prompter = _described(backbone), backbone.prompter
    longest = max((text for own in texts for text in own), key=len)
    tokens = len(prompter.quoted_ids(OPENING, longest, CLOSING))  # both styles have at most these
    tiles = prompter.images.thumbnail_tiles

    def needs(size: int, _: bool) -> Memory:
        return memory.features(arch, tiles, tokens, size)

    found = best(needs, sizes_of(asked), (False,), there)
    if distributed.is_first():
        print(told(found, there), flush=True)
    return found.size


def prediction_batch(
    backbone: Backbone,
    model: nn.Module,
    limits: dict[str, int],
    asked: int | str,
    there: float | None,
) -> BatchSize:
    """Batch sizes of the answers that a model with these experts gives."""
    if there is None:
        return usual("prediction", asked)
    arch = _described(backbone)
    learning = learning_of(model, arch.slots)

    def needs(sample: Sample, size: int, _: bool) -> Memory:
        return memory.prediction(arch, sample, learning, size, limits["max_new_tokens"])

    return _by_size(arch, needs, asked, there)


def learning_of(model: nn.Module, slots: Sequence[Slot]) -> Learning:
    """What sits on the slots of a model: ranks of what learns and of what is frozen beside it.

    A matrix beside a slot's linear that reads the linear's input is the A of an expert.
    """
    first = {f"{slot.linears[0]}.": slot for slot in slots}
    trained: dict[tuple[str, int, str], int] = {}
    frozen: dict[tuple[str, int, str], int] = {}
    for name, parameter in model.named_parameters():
        slot = next((slot for linear, slot in first.items() if linear in name), None)
        own = slot is not None and name.endswith((f"{slot.linears[0]}.weight", "base_layer.weight"))
        if slot is None or own or parameter.dim() != 2:
            continue
        rank, width = parameter.shape
        if width == slot.shapes[0][1]:
            ranks = trained if parameter.requires_grad else frozen
            ranks[slot.key] = ranks.get(slot.key, 0) + rank
    return Learning(trained, frozen)


def training_step(backbone: Backbone, there: float, dropout: float) -> Callable[..., Step]:
    """The ``fit`` of a training (``Phases``) on a GPU with so many bytes."""
    arch = _described(backbone)

    def fit(model: nn.Module, settings: dict[str, Any], row: Largest) -> Step:
        sample = Sample(row.image_tokens / arch.tile_tokens, row.tokens, row.answer)
        found = step_of(arch, sample, learning_of(model, arch.slots), settings,
                        processes=distributed.size(), there=there, dropout=dropout)  # fmt: skip
        if distributed.is_first():
            print(told(found, there), flush=True)
        return Step(found.size, found.checkpointing)

    return fit


def step_of(
    arch: Architecture,
    sample: Sample,
    learning: Learning,
    settings: dict[str, Any],
    *,
    processes: int,
    there: float,
    dropout: float,
) -> Batch:
    """The micro batch of a training: ``settings`` are the config's, a task's filled in."""

    def needs(size: int, checkpointing: bool) -> Memory:
        return memory.training(
            arch, sample, learning, size, dropout=dropout, checkpointing=checkpointing
        )

    sizes = micro_batch_sizes(settings, processes)
    return best(needs, sizes, modes_of(settings["activation_checkpointing"]), there)

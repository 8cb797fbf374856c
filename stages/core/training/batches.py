"""How the samples of an optimiser step divide among processes and forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.base.errors import InputError

USUAL = 8  # of "auto" where no memory decides
MOST = 64  # of "auto": more at a time makes a GPU no faster


def as_usual(asked: int | str) -> int:
    """A micro batch size of the config where no memory decides."""
    return USUAL if asked == "auto" else int(asked)


@dataclass(frozen=True)
class Largest:
    """The longest row of a training."""

    tokens: int
    image_tokens: int
    answer: int  # predicted tokens


@dataclass(frozen=True)
class Step:
    """How a training's forward passes are made."""

    micro_batch_size: int
    checkpointing: bool


def micro_batch_sizes(
    settings: Mapping[str, Any], processes: int, where: str = "training"
) -> list[int]:
    """Samples of one forward pass of each process, the largest number first: the one that the
    config says, or with ``auto`` all that are possible.

    Args:
        settings: the config's ``training`` section, a task's exceptions filled in.
        where: that section, for the message.

    Raises:
        InputError: the processes cannot have equally many samples of a step.
    """
    batch, most = settings["batch_size"], settings["micro_batch_size"]
    share = batch // processes
    if most == "auto" and share and batch % processes == 0:
        return [size for size in range(min(share, MOST), 0, -1) if share % size == 0]
    micro = 1 if most == "auto" else min(most, share)
    if not micro or batch % (micro * processes):
        raise InputError(
            f"{where}.batch_size {batch}: must be a multiple of micro_batch_size ({most}) x "
            f"gpus.training ({processes}), or of gpus.training alone where it is smaller."
        )
    return [micro]


def micro_batch_size(settings: Mapping[str, Any], processes: int, where: str = "training") -> int:
    """The one that is used where no memory decides; see :func:`micro_batch_sizes`."""
    sizes = micro_batch_sizes(settings, processes, where)
    return next((size for size in sizes if size <= USUAL), sizes[-1])


def fitting(size: int, settings: Mapping[str, Any], processes: int) -> int:
    """The largest number of samples up to ``size`` into which a process's share divides."""
    share = settings["batch_size"] // processes
    return next(count for count in range(min(size, share), 0, -1) if share % count == 0)

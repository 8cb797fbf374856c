"""Several processes of one stage, one per GPU, as ``torchrun`` starts them.

Every process runs the whole stage; work is divided with :func:`mine`, results come together with
:func:`gather`, and only the first process writes. Without torchrun there is one process, and
nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def connect() -> None:
    """Let the processes find each other; on GPUs each gets its own (``LOCAL_RANK``)."""
    from datetime import timedelta

    import torch
    from torch import distributed

    if size() == 1 or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        timeout=timedelta(hours=2),  # one may write a cache for long; torchrun notices the dead
    )


def mine(items: Sequence[T]) -> Sequence[T]:
    """The part of ``items`` that is this process's: every ``size()``-th, from ``rank()``."""
    return items[rank() :: size()]


def gather(part: T) -> list[T]:
    """Collect one value from each process, in rank order; every process gets the list."""
    if size() == 1:
        return [part]
    from torch import distributed

    parts = [None] * size()
    distributed.all_gather_object(parts, part)
    return parts


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the processes."""
    if size() > 1:
        from torch import distributed

        distributed.all_reduce(tensor)


def wait() -> None:
    """Wait until every process has reached this call."""
    gather(None)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process runs the block; the others run it when that has ended, and find its
    files."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()

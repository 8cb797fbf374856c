"""Smaller parts where a GPU's memory does not suffice."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from stages.core.base.errors import InputError

T = TypeVar("T")


def halving(run: Callable[[int], T], size: int, what: str) -> tuple[T, int]:
    """``run(size)``, with half the size each time that the GPU's memory does not suffice.

    Args:
        what: what runs, for the messages.

    Returns:
        the result, and the size with which it was reached.

    Raises:
        InputError: a single sample is too much.
    """
    import torch

    while True:
        try:
            return run(size), size
        except torch.OutOfMemoryError:
            if size == 1:
                raise InputError(
                    f"{what}: out of GPU memory with a single sample. Take a GPU with more memory, "
                    "or lower backbone.max_tiles or backbone.image_size; in training also set "
                    "training.activation_checkpointing to on."
                ) from None
        size //= 2
        gc.collect()  # the failed pass is in memory until its frames are gone
        torch.cuda.empty_cache()
        said = f"{what}: out of GPU memory; going on with {size} at a time"
        print(said, file=sys.stderr, flush=True)


def in_parts(run: Callable[[Sequence[Any]], T], items: Sequence[Any], what: str) -> list[T]:
    """``[run(items)]``, or what it gives for each of the parts into which memory forces them."""

    def parts(size: int) -> list[T]:
        return [run(items[start : start + size]) for start in range(0, len(items), size)]

    return halving(parts, len(items), what)[0]

"""Activation checkpointing: blocks that compute their activations again instead of keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def checkpointed(model: nn.Module, on: bool = True) -> Iterator[None]:
    """While it lasts, every block keeps its input alone for the backward pass.

    Losses and gradients stay the same, dropout included. A model in eval mode is checkpointed too:
    only the blocks themselves count as training, nothing within them.

    Args:
        on: whether to do anything.
    """
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks: list[Any] = [
        m for m in model.modules() if on and isinstance(m, GradientCheckpointingLayer)
    ]
    modes = [block.training for block in blocks]
    for block in blocks:
        block.training = block.gradient_checkpointing = True
        block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for block, mode in zip(blocks, modes, strict=True):
            block.training, block.gradient_checkpointing = mode, False

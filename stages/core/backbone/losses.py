"""The training objective: cross-entropy of the answer tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.core.backbone.prompts import IGNORE

if TYPE_CHECKING:
    from torch import Tensor, nn


# of any family
IMAGE_INPUTS = (
    "pixel_values",
    "image_sizes",
    "image_grid_thw",
    "batch_num_images",
    "mm_token_type_ids",
    "token_type_ids",
)


def token_losses(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every labelled token; only those positions go through the LM head.

    Returns:
        losses ``(n,)`` in float32 and the row of the batch each belongs to ``(n,)``.
    """
    import torch
    from torch.nn import functional as F

    wanted = batch["labels"][:, 1:] != IGNORE  # (B, T-1): token i+1 is predicted at position i
    keep = torch.cat([wanted, torch.zeros_like(wanted[:, :1])], dim=1)  # (B, T)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        **{name: batch[name] for name in IMAGE_INPUTS if name in batch},
        logits_to_keep=keep,
        use_cache=False,
    ).logits  # (n, vocabulary)
    targets = batch["labels"][:, 1:][wanted]
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    return losses, wanted.nonzero()[:, 0]


def sample_losses(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean answer-token cross-entropy of each sample, ``(B,)``."""
    import torch

    losses, rows = token_losses(model, batch)
    size = batch["labels"].shape[0]
    totals = torch.zeros(size, device=losses.device).index_add(0, rows, losses)
    return totals / torch.bincount(rows, minlength=size).clamp(min=1)

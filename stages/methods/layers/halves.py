"""The backbone's own features of what a prompt shows and asks, for methods that route by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.core.backbone.features import feature_sizes, image_features
from stages.core.experts.mixtures import Mixture
from stages.methods.layers.embeddings import instruction_tokens, prompt_batches

if TYPE_CHECKING:
    from datasets import Dataset


@torch.no_grad()
def image_halves(model: Mixture, inputs: dict[str, Any], length: float) -> Tensor:
    """The image half of each sample's feature, ``(B, d_v)``, scaled to ``length``; zero without an
    image.

    It is that of the tile which shows all of an image of the sample.
    """
    ids = inputs["input_ids"]
    owner = model.owner(inputs)
    images = torch.zeros(len(ids), feature_sizes(model.backbone)[0], device=ids.device)
    if len(owner):
        tiles = torch.bincount(owner, minlength=len(ids))
        first = model.backbone.prompter.images.whole_first
        whole = (tiles.cumsum(dim=0) - (tiles if first else 1))[tiles > 0]
        with model.plain():
            seen = image_features(model.backbone, inputs["pixel_values"][whole])
        images[tiles > 0] = length * F.normalize(seen, dim=-1)
    return images


@torch.no_grad()
def text_halves(model: Mixture, inputs: dict[str, Any]) -> Tensor:
    """The text half of each sample's feature after a plain LayerNorm, ``(B, d_t)``.

    The language model reads the instruction's tokens alone, without the image's between them.
    """
    text = instruction_tokens(model, inputs)
    longest = int(text.sum(dim=1).max())
    order = (~text).int().argsort(dim=1, stable=True)[:, :longest]  # text first, in its order
    real = text.gather(1, order)
    with model.plain() as plain:
        states = plain.model.language_model(
            input_ids=inputs["input_ids"].gather(1, order),
            attention_mask=real.long(),
            use_cache=False,
        ).last_hidden_state.float()
    pooled = states.masked_fill(~real[..., None], float("-inf")).amax(dim=1)
    return F.layer_norm(pooled, pooled.shape[-1:])


def halves_of(model: Mixture, rows: Dataset, size: int, length: float) -> tuple[Tensor, Tensor]:
    """Image and text halves of rows, ``(n, d_v)`` and ``(n, d_t)``."""
    pairs = [
        (image_halves(model, batch, length), text_halves(model, batch))
        for batch in prompt_batches(model.backbone, rows, size)
    ]
    images, texts = zip(*pairs, strict=True)
    return torch.cat(images), torch.cat(texts)

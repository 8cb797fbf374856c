"""What a prompt is about, in the pretrained backbone's own embeddings, and keys of tasks there."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.backbone.prompts import IGNORE

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone
    from stages.core.experts.mixtures import Mixture


def prompt_batches(backbone: Backbone, rows: Dataset, size: int) -> Iterator[dict[str, Any]]:
    """The prompts of all rows, in batches without labels."""
    for start in range(0, len(rows), size):
        part = rows.select(range(start, min(start + size, len(rows))))
        batch = backbone.prompter.collate([backbone.prompter.generation_example(r) for r in part])
        batch.pop("sample_id")
        yield backbone.to_device(batch)


def instruction_tokens(mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
    """Which tokens are text of the prompt, bool ``(B, T)``: no image, no padding, and nothing
    from the first labelled token on (a batch of generation has no labels)."""
    ids = inputs["input_ids"]
    text = inputs["attention_mask"].bool() & (ids != mixture.model.config.image_token_id)
    if "labels" in inputs:
        text &= (inputs["labels"] != IGNORE).cumsum(dim=1) == 0
    return text


@torch.no_grad()
def mean_embeddings(mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
    """Of each sample the mean projected image token and the mean embedding of its instruction's
    tokens, as the pretrained backbone makes them, float32 ``(B, 2, d)``.

    The image half of a sample without an image is zero.
    """
    ids = inputs["input_ids"]
    text = instruction_tokens(mixture, inputs).float()  # (B, T)
    tokens = mixture.model.get_input_embeddings()(ids).float()  # (B, T, d)
    words = (text[..., None] * tokens).sum(dim=1) / text.sum(dim=1, keepdim=True)
    images = torch.zeros_like(words)
    if inputs.get("pixel_values") is not None:
        owner = (ids == mixture.model.config.image_token_id).nonzero()[:, 0]
        count = torch.bincount(owner, minlength=len(ids)).clamp(min=1)
        images.index_add_(0, owner, image_tokens(mixture, inputs).float())
        images /= count[:, None]
    return torch.stack([images, words], dim=1)


def image_tokens(mixture: Mixture, inputs: dict[str, Any]) -> Tensor:
    """Projected image tokens of a whole batch in order, as the pretrained backbone makes them,
    ``(image tokens, d)``."""
    with mixture.plain() as model:
        taken = inspect.signature(model.get_image_features).parameters
        given = {name: inputs[name] for name in taken if inputs.get(name) is not None}
        found = model.get_image_features(**given).pooler_output  # per tile or per image
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in found])


class TaskKeys(nn.Module):
    """An image key and a text key for every task, the last task's learning."""

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        self.keys = nn.ParameterList(nn.Parameter(torch.ones(2, width)) for _ in range(tasks))
        for earlier in self.keys[:-1]:
            earlier.requires_grad_(False)

    @torch.no_grad()
    def start(self, embeddings: Tensor) -> None:
        """The last task's keys at the mean direction of its embeddings ``(n, 2, d)``.

        Their norm is sqrt(d), so that an optimiser's step turns them little and their gradient
        takes no part in clipping.
        """
        mean = F.normalize(F.normalize(embeddings, dim=-1).mean(dim=0), dim=-1)
        self.keys[-1].copy_(mean * math.sqrt(mean.shape[-1]))

    def distance(self, embeddings: Tensor) -> Tensor:
        """``sum_m (1 - cos(e_m, k_m))`` to the last task's keys, mean over ``(n, 2, d)``."""
        return (1 - F.cosine_similarity(embeddings, self.keys[-1], dim=-1)).sum(dim=1).mean()

    def nearest(self, embeddings: Tensor) -> Tensor:
        """The task whose two cosines have the largest sum, for each of ``(n, 2, d)``."""
        keys = torch.stack(list(self.keys))  # (K, 2, d)
        return F.cosine_similarity(embeddings[:, None], keys, dim=-1).sum(dim=-1).argmax(dim=1)

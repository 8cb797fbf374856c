"""Pools of one LoRA per task, weighed at test by how near a sample is to each task's mean feature.

In training the task's own block answers alone, so that blocks of different tasks do not depend on
each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.backbone.features import feature_sizes
from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.layers.halves import halves_of, image_halves, text_halves

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture


class Anchors(nn.Module):
    """The mean image half and text half of every task's samples, frozen."""

    def __init__(self, tasks: int, vision_width: int, text_width: int) -> None:
        super().__init__()

        def zeros(width: int) -> nn.ParameterList:
            fresh = (nn.Parameter(torch.zeros(width), requires_grad=False) for _ in range(tasks))
            return nn.ParameterList(fresh)

        self.images, self.texts = zeros(vision_width), zeros(text_width)

    def cosines(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Of image halves ``(B, d_v)`` and text halves ``(B, d_t)`` to the anchors, ``(B, tasks)``
        each."""
        return tuple(
            F.cosine_similarity(rows[:, None], torch.stack(list(anchors)), dim=-1)
            for rows, anchors in ((images, self.images), (texts, self.texts))
        )


def anchors(backbone: Backbone, tasks: int) -> Anchors:
    """Empty anchors of so many tasks."""
    return Anchors(tasks, *feature_sizes(backbone))


def drop_anchor(model: Mixture, rows: Dataset, job: Job, samples: int) -> None:
    """Set the last task's anchors to the means over at most ``samples`` of its rows, seeded."""
    chosen = pick(len(rows), samples, job.seed, f"{job.task} anchors")
    size = as_usual(job.config["training"]["micro_batch_size"])
    images, texts = halves_of(model, rows.select(chosen), size, 1.0)
    model.extra.images[-1].copy_(images.mean(dim=0))
    model.extra.texts[-1].copy_(texts.mean(dim=0))


def alone(model: Mixture, batch: dict[str, Any]) -> Tensor:
    """Weights with which the last task's block answers alone, ``(B, tasks)``."""
    rows, tasks = len(batch["input_ids"]), len(model.notes["tasks"])
    last = torch.full((rows,), tasks - 1, device=batch["input_ids"].device)
    return F.one_hot(last, tasks).float()


def near(model: Mixture, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Cosines of a batch's prompts to the anchors, by image and by text, ``(B, tasks)`` each."""
    return model.extra.cosines(image_halves(model, inputs, 1.0), text_halves(model, inputs))

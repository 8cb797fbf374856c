"""O-LoRA: a LoRA per task, orthogonal to those before, which stay in the sum, frozen.

Wang et al., Findings of EMNLP 2023. ``y = W x + s sum_{k<t} B_k A_k x + s B_t A_t x``, and the
loss has ``lambda sum_{k<t} |A_t A_k^T|_1``, the absolute entries summed over all linears.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.base import Method, add_expert

if TYPE_CHECKING:
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel


class OLoRA(Method):
    """Every finished task's LoRA is active, in training and at test."""

    label = "O-LoRA"

    options = {
        "orthogonality": {
            "description": "Weight lambda of the overlap with earlier A matrices.",
            "type": "number",
            "minimum": 0,
            "default": 0.5,
        }
    }

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return tasks[: tasks.index(task)]

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        return tasks[:step]

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        model = self.load(backbone, states)
        add_expert(model, job, self.ranks(job))
        model.activate([*states, job.task], training=job.task)
        self.weight = self.option(job, "orthogonality")
        self.pairs = subspaces(model, job.task, list(states))
        return model

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Tensor:
        overlap = sum((new @ old.T).abs().sum() for new, old in self.pairs)
        return model.answer_loss(batch) + self.weight * overlap * model.share(batch)


def subspaces(model: ExpertModel, task: str, earlier: list[str]) -> list[tuple[Tensor, Tensor]]:
    """Of every adapted linear the A of the task ``(r, d)`` and those before, stacked
    ``(sum of their r, d)``; nothing in the first task."""
    import torch

    by_name = dict(model.model.named_parameters())
    pairs = []
    for name, new in model.trainable().items():
        stem = name.removesuffix(f"{task}.weight")
        old = [by_name[f"{stem}{other}.weight"] for other in earlier]
        if stem.endswith(".lora_A.") and old:
            pairs.append((new, torch.cat(old)))
    return pairs


METHOD = OLoRA

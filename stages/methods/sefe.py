"""SEFE's RegLoRA: a LoRA per task in the sum, kept from the elements that earlier ones rely on.

Chen et al., ICML 2025 (arXiv 2505.02486). Of every finished task the elements of ``B A`` with the
largest absolute values (2 % of each linear's) are its key elements. A new LoRA learns beside the
frozen sum of those before (the source merges them into the weights), and the loss has
``lambda mean |(B_t A_t)_key|``, the mean over the key elements of all earlier tasks and then over
the linears, lambda = 2500.

ASSUME: only the method's second half is here. Its first, answer style diversification, rewrites
the training data with a large model beforehand; such data can be a stream's own.
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


class SEFE(Method):
    """Every finished task's LoRA is active, in training and at test."""

    label = "SEFE"
    options = {
        "regularity": {
            "description": "Weight lambda of the penalty on key elements.",
            "type": "number",
            "minimum": 0,
            "default": 2500.0,
        },
        "key_share": {
            "description": "Part of a linear's elements that are key to a task.",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.02,
        },
    }

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return tasks[: tasks.index(task)]

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        return tasks[:step]

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        model = self.load(backbone, states)
        add_expert(model, job, self.ranks(job))
        model.activate([*states, job.task], training=job.task)
        self.weight = self.option(job, "regularity")
        self.guarded = guarded(model, job.task, list(states), self.option(job, "key_share"))
        return model

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Tensor:
        answers = model.answer_loss(batch)
        if not self.guarded:
            return answers
        moved = sum(
            (b[rows] * a[:, columns].T).sum(dim=1).abs().mean()
            for a, b, rows, columns in self.guarded
        )
        return answers + self.weight * moved / len(self.guarded) * model.share(batch)


def guarded(
    model: ExpertModel, task: str, earlier: list[str], share: float
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of every adapted linear the task's A ``(r, in)`` and B ``(out, r)``, and rows and columns of
    the key elements of all earlier tasks; nothing in the first task."""
    import torch

    by_name = dict(model.model.named_parameters(remove_duplicate=False))
    found = []
    for name, b in by_name.items():
        if not name.endswith(f".lora_B.{task}.weight") or not earlier:
            continue
        a_name = name.replace(".lora_B.", ".lora_A.")
        keys = []
        for other in earlier:
            old_b = by_name[name.replace(f".{task}.weight", f".{other}.weight")]
            old_a = by_name[a_name.replace(f".{task}.weight", f".{other}.weight")]
            update = (old_b @ old_a).detach().abs().flatten()
            keys.append(update.topk(max(1, int(share * len(update)))).indices)
        a, places = by_name[a_name], torch.cat(keys)
        width = a.shape[1]
        found.append((a, b, places // width, places % width))
    return found


METHOD = SEFE

"""Learning without forgetting: the LoRA of the task before teaches on the new task's rows.

Li and Hoiem, 2016. Per answer token ``(1 - a) CE + a T^2 KL(p_before^T || p_now^T)``, where
``p^T`` is the softmax of logits / T. The teacher is a second, frozen adapter on the same backbone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel


class LwF(Method):
    """Sequential LoRA with distillation from the second task on."""

    label = "LwF"

    options = {
        "temperature": {
            "description": "Softens both distributions.",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 2.0,
        },
        "weight": {
            "description": "Weight a of the distillation; the answers' weight is 1 - a.",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.5,
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        model = super().prepare(backbone, job, states)
        for name, folder in states.items():
            model.load(name, folder)
        model.activate([job.task], training=job.task)
        self.teacher = list(states)
        self.temperature = self.option(job, "temperature")
        self.weight = self.option(job, "weight")
        return model

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Tensor:
        if not self.teacher:
            return model.answer_loss(batch)
        with model.frozen_view(self.teacher):
            before, _ = model.answer_logits(batch)
        now, losses = model.answer_logits(batch)
        taught = distillation(before, now, self.temperature)
        mixed = (1 - self.weight) * losses + self.weight * taught
        return mixed.sum() / batch.get("n_answer_tokens", mixed.numel())


def distillation(before: Tensor, now: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(before / T) || softmax(now / T))`` of each token.

    Args:
        before: the teacher's logits ``(n, vocabulary)``.
        now: the student's.
    """
    from torch.nn import functional as F

    teacher = F.log_softmax(before.float() / temperature, dim=-1)
    student = F.log_softmax(now.float() / temperature, dim=-1)
    kl = F.kl_div(student, teacher, log_target=True, reduction="none").sum(dim=-1)  # (n,)
    return temperature**2 * kl


METHOD = LwF

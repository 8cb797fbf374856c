"""Elastic weight consolidation on one LoRA that is trained on through the stream.

Kirkpatrick et al., 2017; one anchor and summed importances as in online EWC (Schwarz et al.,
2018). The loss of task t has ``(lambda / 2) sum_j F_j (theta_j - theta*_j)^2`` over all LoRA
parameters, theta* being their values after task t - 1 and F the sum of the earlier tasks' Fishers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, reading
from stages.core.base.sampling import pick
from stages.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel
    from stages.methods.base import Run

FISHER = "fisher.safetensors"


class EWC(Method):
    """Sequential LoRA with a penalty on moving parameters that earlier tasks are sensitive to."""

    label = "EWC"

    # ASSUME: published strengths span 0.5 to 5000. At 100 the penalty is 0.34 nats where plain
    # sequential LoRA ends after one task of the demo stream; at 1 it is 0.0034, without effect.
    options = {
        "strength": {
            "description": "Lambda, the weight of the penalty.",
            "type": "number",
            "minimum": 0,
            "default": 100.0,
        },
        "samples": {
            "description": "Rows of the finished task behind its Fisher.",
            "type": "integer",
            "minimum": 1,
            "default": 200,
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        model = super().prepare(backbone, job, states)
        self.strength = self.option(job, "strength")
        self.fisher = {}
        for folder in states.values():
            stored, _ = reading.read_weights(folder / FISHER)
            self.fisher = {key: value.to(backbone.device) for key, value in stored.items()}
        self.learnt = learnt(model, job.task)
        self.anchor = {key: value.detach().clone() for key, value in self.learnt.items()}
        return model

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Tensor:
        loss = model.answer_loss(batch)
        if not self.fisher:
            return loss
        held = penalty(self.learnt, self.anchor, self.fisher)
        return loss + self.strength * held * model.share(batch)

    def fit(self, model: ExpertModel, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        history = super().fit(model, job, rows, run)
        chosen = pick(len(rows), self.option(job, "samples"), job.seed, f"{job.task} fisher")
        own = fisher(model, self.learnt, rows.select(chosen))
        earlier = self.fisher or dict.fromkeys(own, 0)
        self.fisher = {key: earlier[key] + own[key] for key in own}
        return history

    def save(self, model: ExpertModel, job: Job, folder: Path) -> None:
        super().save(model, job, folder)
        artifacts.write_weights(folder / FISHER, self.fisher, provenance={})


def learnt(model: ExpertModel, task: str) -> dict[str, Tensor]:
    """Trainable parameters by their names in the PEFT file, which do not contain the task."""
    trainable = model.trainable().items()
    return {f"{key.removesuffix(f'.{task}.weight')}.weight": p for key, p in trainable}


def penalty(
    now: Mapping[str, Tensor], anchor: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Tensor:
    """``1/2 sum_j F_j (theta_j - theta*_j)^2``."""
    return 0.5 * sum((weights[k] * (now[k] - anchor[k]) ** 2).sum() for k in now)


def fisher(
    model: ExpertModel, parameters: Mapping[str, Tensor], rows: Dataset
) -> dict[str, Tensor]:
    """Diagonal empirical Fisher, ``1/n sum_i (d log p(y_i | x_i) / d theta)^2``.

    One backward pass per row, without dropout; ``log p`` is the sum over the row's answer tokens
    and y_i the given answer (an answer drawn from the model would make it the true Fisher).
    """
    from stages.core.backbone.losses import token_losses

    prompter = model.backbone.prompter
    total = {key: parameter.detach() * 0 for key, parameter in parameters.items()}
    model.model.eval()
    for row in rows:
        batch = prompter.collate([prompter.training_example(row)])
        losses, _ = token_losses(model.model, model.backbone.to_device(batch))
        model.model.zero_grad()
        losses.sum().backward()
        for key, parameter in parameters.items():
            if parameter.grad is not None:  # a row without image does not reach the vision encoder
                total[key] += parameter.grad**2 / len(rows)
    model.model.zero_grad()
    return total


METHOD = EWC

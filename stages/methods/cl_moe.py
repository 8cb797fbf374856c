"""CL-MoE: a dense mixture whose experts move slowly, weighed by the token and by its task.

Huai et al., CVPR 2025 (arXiv 2503.00413). Training is that of ``dense_mole``. Of a finished task
it is counted how often each expert is among the two largest of a token; the two most frequent
ones, by their frequency, are the task's shares g_t. Then the experts are blended with those
before the task, ``theta = l before + (1 - l) trained``: l = 0.7, but 0.3 for experts that only
the new task uses most. At test an expert's weight is
``0.5 softmax(W_g x)_i + 0.5 g_t,i``, t the task whose anchors are nearest; no task identity.

ASSUME: the source's shares at test are typed in by hand for each task, and its counts add up all
layers; here the task is found by the means of up to ``samples`` training rows in the backbone's
own features, and counts are kept by slot, over the prompts of those rows. Which experts are freer
to move is our reading of the paper's summary; all others have l = 0.7, as in the released code.
``source: code`` is that code's rule: it frees those that the task before uses most and the new one
does not. The gates W_g are not blended, as there.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.base import count
from stages.methods.dense_mole import DenseMoLE

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run


def part(default: float, description: str) -> dict[str, Any]:
    """An option from 0 to 1."""
    return {
        "description": description,
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": default,
    }


class CLMoE(DenseMoLE):
    """One mixture on all slots; every state holds the shares and anchors of all tasks so far."""

    label = "CL-MoE"

    options = {
        **DenseMoLE.options,
        "local": part(0.5, "beta: part of a token's own gate in its weights at test."),
        "momentum": part(0.7, "gamma: part of an expert that stays as it was before the task."),
        "top_experts": count(2, "Experts that count as those a token, or a task, uses most."),
        "samples": count(256, "Rows of a task behind its shares and its anchors."),
        "source": {
            "description": (
                "Experts with 1 - momentum: paper: those that of all tasks only the new one uses "
                "most; code: those that the task before uses most and the new one does not."
            ),
            "enum": ["paper", "code"],
            "default": "paper",
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """Continue training experts and gates from the state of the task before."""
        from stages.core.experts.mixtures import read_state
        from stages.methods.layers.branches import known_task

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        before, self.before = read_state(folder) if folder else ({"tasks": []}, {})
        notes = self.routing_options(job) | {
            "tasks": [*before["tasks"], job.task],
            "ranks": self.expert_ranks(job),
            "scale": expert["alpha"] / expert["rank"],
            "local": self.option(job, "local"),
        }
        model = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        model.restore(self.before, folder, grown=True)
        model.describe = known_task(model)
        return model

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        """Train, count which experts the task uses most, and blend them with those before."""
        from stages.methods.layers.anchors import drop_anchor
        from stages.methods.layers.task_shares import blend, count_choices

        given = self.settings(job.config)
        drop_anchor(model, rows, job, given["samples"])
        history = super().fit(model, job, rows, run)
        chosen = pick(len(rows), given["samples"], job.seed, f"{job.task} shares")
        size = as_usual(job.config["training"]["micro_batch_size"])
        count_choices(model, rows.select(chosen), size, given["top_experts"])
        if self.before:
            blend(model, self.before, given["momentum"], given["source"])
        self.ask_anchors(model)
        return history

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The mixture that a state's notes describe; a sample's task is the nearest one."""
        from stages.core.experts.mixtures import Mixture
        from stages.core.experts.ranks import width_of
        from stages.methods.layers.anchors import anchors
        from stages.methods.layers.task_shares import TaskShareGate

        tasks = len(notes["tasks"])
        model = Mixture(
            backbone,
            notes["ranks"],
            lambda slot, experts: TaskShareGate(width_of(slot), experts, tasks, notes["local"]),
            scale=notes["scale"],
            dropout=dropout,
            seed=seed,
            extra=anchors(backbone, tasks),
            notes=notes,
        )
        self.ask_anchors(model)
        return model

    def ask_anchors(self, model: Mixture) -> None:
        """From now on a prompt's task is that of the nearest anchors."""
        from stages.methods.layers.task_shares import nearest_task

        model.describe = lambda inputs: nearest_task(model, inputs)


METHOD = CLMoE

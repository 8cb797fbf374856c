"""BranchLoRA: a shared A and eight branches B per slot, a gate per task (Zhang et al., ACL 2025).

``y = W x + s sum_{j in Top2(pi)} pi_j B_j A x`` with ``pi = softmax(W_r^t x_first)``, x_first the
slot's input at the sequence's first token. At a task's end the two branches of a slot with the
highest mean pi are frozen; they can still be chosen. A goes on learning. Keys in the backbone's
embedding space, learnt with ``lambda sum_m (1 - cos(e_m, k_m))`` for image and text, decide which
task's router a test sample uses; no task identity is needed.

ASSUME, where the source is open: pi is renormalised over the top two; the most active branches
are sought among all, so fewer than two may be newly frozen; activity is measured after training,
on a sample of the rows (a resumed run could not add it up); a key starts at its task's mean.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.mixture import MixtureMethod

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.core.experts.ranks import ExpertRanks
    from stages.methods.base import Run

FREEZES = 2  # branches of a slot at a task's end


class BranchLoRA(MixtureMethod):
    """Branches that freeze in turn; one gate and one pair of keys per task."""

    label = "BranchLoRA"

    off_budget = (
        "The source fixes eight branches: even at rank 1 they and their routers cost more than "
        "expert.rank 8 on half of the slots; and what learns shrinks as branches freeze."
    )
    options = {
        "branches": {
            "description": "Branches B of a slot.",
            "type": "integer",
            "minimum": 1,
            "default": 8,
        },
        "key_loss": {
            "description": "Weight lambda of the keys' cosine loss.",
            "type": "number",
            "minimum": 0,
            "default": 1.0,
        },
        "samples": {
            "description": "Rows of the task behind its keys' start and its branches' activity.",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """A, the branches not yet frozen, and the new task's gate and keys learn."""
        from stages.core.experts.mixtures import read_state
        from stages.methods.layers.branches import freeze, known_task

        expert = job.config["expert"]
        folder = next(iter(states.values()), None)
        notes, tensors = read_state(folder) if folder else ({"tasks": [], "frozen": {}}, {})
        notes |= {
            "tasks": [*notes["tasks"], job.task],
            "ranks": self.branch_ranks(job),
            "scale": expert["alpha"] / expert["rank"],
            "key_loss": self.option(job, "key_loss"),
        }
        model = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        model.restore(tensors, folder, grown=True)
        freeze(model)
        model.describe = known_task(model)
        return model

    def branch_ranks(self, job: Job) -> ExpertRanks:
        """One rank for all branches of a slot, solved from the budget, the gate included."""
        from stages.core.experts.ranks import budget_of, slot_name, spread, width_of

        number, units, routers = self.option(job, "branches"), {}, 0
        for slot in job.slots:
            outputs = sum(rows for rows, _ in slot.shapes)
            units[slot_name(slot)] = width_of(slot) + number * outputs
            routers += number * width_of(slot)
        left = budget_of(job) - routers
        ranks = spread(units, dict.fromkeys(units, 1), left)
        return {name: [rank] * number for name, rank in ranks.items()}

    def loss(self, model: Mixture, batch: dict[str, Any]) -> Tensor:
        from stages.methods.layers.embeddings import mean_embeddings

        away = model.extra.distance(mean_embeddings(model, batch))
        weight = model.notes["key_loss"] * model.share(batch)
        return model.answer_loss(batch) + weight * away

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        from stages.methods.layers.branches import activity, nearest_task, start_keys

        chosen = pick(len(rows), self.option(job, "samples"), job.seed, f"{job.task} branches")
        sample = rows.select(chosen), as_usual(job.config["training"]["micro_batch_size"])
        start_keys(model, *sample)
        history = run(model, lambda batch: self.loss(model, batch), rows)
        frozen = model.notes["frozen"]
        for name, shares in activity(model, *sample).items():
            top = sorted(range(len(shares)), key=lambda j: (-shares[j], j))[:FREEZES]
            frozen[name] = sorted({*frozen.get(name, []), *top})
        model.describe = nearest_task(model)
        return history

    def build(self, backbone: Backbone, notes: dict[str, Any], **training: Any) -> Mixture:
        from stages.methods.layers.branches import build

        return build(backbone, notes, **training)


METHOD = BranchLoRA

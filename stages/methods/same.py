"""SAME: a mixture whose routers and experts learn little where earlier inputs vary.

Xie et al., ICML 2026 (arXiv 2602.01990). As ``dense_mole``, with three rules. C is the uncentred
covariance of a slot's inputs over all tasks so far, each token with the same weight; kept are the
directions V with the largest variances S, the fewest whose squares sum to a share ``energy``.

1. Router: ``G V g V^T + G (I - V V^T)`` with V of this and earlier tasks takes the place of the
   gradient G, g the inverse of S averaged over neighbours.
2. Experts, from the second task on: ``G C^-1`` takes the place of the gradient of A, with C of the
   earlier tasks and ``C^-1 = V (S + mu)^-1 V^T + (I - V V^T) / mu``.
3. An expert sleeps through a task if its use (mean weight on the task's tokens) less its importance
   (mean of weight times squared length of the input, over earlier tasks), both scaled to 0..1, is
   below a threshold. It has weight 0 in training, and answers at test.

ASSUME: use, importance and C are measured on ``samples`` rows of the task, importance after its
training and the rest before it; the source adds them up while it trains, which a resumed run could
not go on with. g is relative to the largest and at least 0.8, the window is three, as in the
released code; so are the values of ``energy``, ``components``, ``damping`` and ``threshold``. The
expert with the highest score never sleeps (released code: the task's own, of as many as tasks).
Slots and ranks are those of the other methods; the source has the LLM's feed-forward linears.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.dense_mole import DenseMoLE

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run
    from stages.methods.layers.steady import Seen, SteadyGate


class SAME(DenseMoLE):
    """One mixture on all slots, whose updates spare what earlier tasks use."""

    label = "SAME"

    off_budget = (
        "With all experts it is within the budget; those that sleep through a task do not learn."
    )
    options = DenseMoLE.options | {
        "energy": {
            "description": "Share of the squared variances that the kept directions have.",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.9,
        },
        "components": {
            "description": "Directions kept of a slot's inputs, at most.",
            "type": "integer",
            "minimum": 1,
            "default": 64,
        },
        "damping": {
            "description": "mu: the smaller, the more an expert learns in new directions.",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.9,
        },
        "threshold": {
            "description": "Score, from -1 to 1, below which an expert sleeps.",
            "type": "number",
            "default": 0.1,
        },
        "samples": {
            "description": "Rows of a task behind what its slots see.",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
    }

    def routing_options(self, job: Job) -> dict[str, Any]:
        """Those of a dense mixture, and how many directions its gates have room for."""
        return super().routing_options(job) | {"components": self.option(job, "components")}

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        """Look at the task's rows, train under the three rules, and note who was important."""
        from stages.methods.layers.steady import look

        chosen = pick(len(rows), self.option(job, "samples"), job.seed, f"{job.task} slots")
        sample = rows.select(chosen), as_usual(job.config["training"]["micro_batch_size"])
        handles = self.hold(model, job, look(model, *sample))
        history = super().fit(model, job, rows, run)
        for handle in handles:
            handle.remove()
        for name, seen in look(model, *sample).items():
            model.slots[name].gate.weigh(seen)
        return history

    def hold(self, model: Mixture, job: Job, seen: dict[str, Seen]) -> list[Any]:
        """Put the rules on all slots, of which some have seen the task's rows; handles that undo
        the scaling of gradients."""
        from stages.methods.layers.steady import hold_experts, hold_router, idle, put_to_sleep

        energy, damping, threshold = (
            self.option(job, name) for name in ("energy", "damping", "threshold")
        )
        handles: list[Any] = []
        for name, slot in model.slots.items():
            if slot.gate.tokens:
                handles += hold_experts(slot, damping)
            if name in seen:
                slot.gate.remember(seen[name], energy)
                put_to_sleep(slot, idle(seen[name].use, slot.gate.importance, threshold))
            handles += hold_router(slot.gate)
        return handles

    def gate(self, width: int, experts: int, notes: dict[str, Any]) -> SteadyGate:
        """A gate that remembers its inputs' main directions."""
        from stages.methods.layers.steady import SteadyGate

        return SteadyGate(width, experts, notes["components"])


METHOD = SAME

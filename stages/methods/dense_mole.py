"""Dense mixture of LoRA experts: every token is shared out over all experts of a slot.

MoELoRA as in CoIN (Chen et al., 2024): ``y = W x + s sum_i softmax(W_g x)_i B_i A_i x``, one
router W_g without bias per slot, which q, k and v share. Experts and routers learn on through the
stream. There is no balance loss.

The experts' ranks are solved from the budget, routers included. The state is a mixture's (see
``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.mixture import MixtureMethod

if TYPE_CHECKING:
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.gates import Gate
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.core.experts.ranks import ExpertRanks

MOST = 8  # experts, unless more are asked for


class DenseMoLE(MixtureMethod):
    """One mixture on all slots, trained on through the stream."""

    label = "Dense MoLE"

    options = {
        "experts": {
            "description": "Experts of a slot; null: as many as the budget allows, at most 8.",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
        }
    }

    def routing_options(self, job: Job) -> dict[str, Any]:
        """Experts that a token uses (None: all) and the weight of the load-balance loss."""
        return {"top_k": None, "balance_loss": 0.0}

    def counts(self, job: Job) -> dict[str, int]:
        """Number of experts of each slot."""
        from stages.core.experts.ranks import budget_of, slot_name, width_of

        number = self.option(job, "experts")
        if number is None:
            one = sum(slot.lora_parameters(1) + width_of(slot) for slot in job.slots)
            fitting = int(1.05 * budget_of(job) / one)
            number = min(max(fitting, 1), MOST)
        return {slot_name(slot): number for slot in job.slots}

    def expert_ranks(self, job: Job) -> ExpertRanks:
        """Rank of each expert; those of a slot differ by one at most."""
        from stages.core.experts.ranks import budget_of, slot_name, split, spread, width_of

        counts = self.counts(job)
        units = {slot_name(slot): slot.lora_parameters(1) for slot in job.slots}
        routers = sum(counts[slot_name(slot)] * width_of(slot) for slot in job.slots)
        totals = spread(units, counts, budget_of(job) - routers)
        return {name: split(totals[name], counts[name]) for name in totals}

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """Continue training everything from the state of the task before."""
        from stages.core.experts.mixtures import read_state

        expert = job.config["expert"]
        notes = self.routing_options(job) | {
            "ranks": self.expert_ranks(job),
            "scale": expert["alpha"] / expert["rank"],
        }
        mixture = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        for folder in states.values():
            mixture.restore(read_state(folder)[1], folder)
        return mixture

    def loss(self, model: Mixture, batch: dict[str, Any]) -> Tensor:
        weight, answers = model.notes["balance_loss"], model.answer_loss(batch)
        return answers + weight * model.balance() * model.share(batch) if weight else answers

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The mixture that a state's notes describe."""
        from stages.core.experts.mixtures import Mixture
        from stages.core.experts.ranks import width_of

        return Mixture(
            backbone,
            notes["ranks"],
            lambda slot, experts: self.gate(width_of(slot), experts, notes),
            scale=notes["scale"],
            dropout=dropout,
            seed=seed,
            notes=notes,
        )

    def gate(self, width: int, experts: int, notes: dict[str, Any]) -> Gate:
        """The gate of a slot that is ``width`` wide."""
        from stages.core.experts.gates import TokenGate

        return TokenGate(width, experts, notes["top_k"], balanced=notes["balance_loss"] > 0)


METHOD = DenseMoLE

"""D-MoLE: per task one expert on the slots of its allocation, trained beside its parent's expert.

Ge et al., ICML 2025. The budget and the slots come from ``allocate_experts``, the parent from
``choose_parent``, routing at test from ``route_samples``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.methods.base import Method, add_expert

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel, SlotRanks


class DMoLE(Method):
    """Dynamic mixture of curriculum LoRA experts."""

    label = "D-MoLE"
    needs = frozenset({"allocation", "transfer", "router"})
    routing = "threshold"

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return [transfer["parent"]] if transfer and transfer["parent"] else []

    def ranks(self, job: Job) -> SlotRanks:
        return {
            (slot["tower"], slot["block"], slot["slot"]): job.config["expert"]["rank"]
            for slot in job.allocation["slots"]
            if slot["allocated"]
        }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        """The new expert learns; the parent's is active beside it, frozen (Eq. 2)."""
        model = self.load(backbone, states)
        add_expert(model, job, self.ranks(job))
        model.activate([*states, job.task], training=job.task)
        return model


METHOD = DMoLE

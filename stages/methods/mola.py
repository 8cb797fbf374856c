"""MoLA: more experts in higher blocks (Gao et al., 2024, the "inverted triangle").

As ``sparse_mole``; the number of experts grows from the lowest to the highest quarter of the
blocks of each tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.methods.sparse_mole import SparseMoLE

if TYPE_CHECKING:
    from stages.core.experts.job import Job


class MoLA(SparseMoLE):
    """Experts by quarter of the tower."""

    label = "MoLA"

    off_budget = (
        "The source fixes 2, 4, 6 and 8 experts, and an expert has at least rank 1: five a slot "
        "and their routers cost more than the budget of expert.rank 8 on half of the slots. "
        "method_options.mola.experts [1, 2, 3, 4] fits; so does a larger expert.rank."
    )
    options = {
        **SparseMoLE.options,
        "experts": {
            "description": "Experts of a slot in each quarter of the blocks, lowest first.",
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 4,
            "maxItems": 4,
            "default": [2, 4, 6, 8],
        },
        "balance_loss": {**SparseMoLE.options["balance_loss"], "default": 1e-3},
    }

    def counts(self, job: Job) -> dict[str, int]:
        """Number of experts of each slot, by the quarter its block is in."""
        from stages.core.experts.ranks import slot_name

        quarters = self.option(job, "experts")
        blocks = {slot.tower: slot.block + 1 for slot in sorted(job.slots)}  # the last one's
        return {
            slot_name(slot): quarters[4 * slot.block // blocks[slot.tower]] for slot in job.slots
        }


METHOD = MoLA

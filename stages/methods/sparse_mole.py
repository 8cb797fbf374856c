"""Sparse mixture of LoRA experts: every token uses the two experts with the largest gate weights.

As ``dense_mole``, with the shares of the best ``top_k`` experts rescaled to sum to 1.
ASSUME: which "sparse" the comparison in the literature means is open; LoRAMoE's own code is a
dense softmax, which ``top_k: null`` gives. The optional loss is that of the Switch Transformer;
LoRAMoE's localized one needs two types of tasks in every batch, and a stream has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.methods.dense_mole import DenseMoLE

if TYPE_CHECKING:
    from stages.core.experts.job import Job


class SparseMoLE(DenseMoLE):
    """Top-k gating per token, with an optional load-balance loss."""

    label = "Sparse MoLE"

    options = {
        **DenseMoLE.options,
        "top_k": {
            "description": "Experts that a token uses; null: all of them.",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": 2,
        },
        "balance_loss": {
            "description": "Weight of the load-balance loss, summed over the slots; 0: none.",
            "type": "number",
            "minimum": 0,
            "default": 0.0,
        },
    }

    def routing_options(self, job: Job) -> dict[str, Any]:
        return {key: self.option(job, key) for key in ("top_k", "balance_loss")}


METHOD = SparseMoLE

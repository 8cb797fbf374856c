"""DISCO without its federation: a LoRA per task, mixed at test by how near the text is.

Guo et al., ICCV 2025 (arXiv 2503.12897). Every task trains a block of its own; at test
``w = softmax(cos(text, anchor_k) / tau)`` over the tasks' text anchors, tau = 0.05, and
``y = W x + s sum_k w_k B_k A_k x``; no task identity.

ASSUME: one client, so the blocks of a task are not averaged over clients; an anchor is the mean
text half of up to ``samples`` training rows in the backbone's own features (the source's are
CLIP's).

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.mixture import MixtureMethod

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run


class Disco(MixtureMethod):
    """Every state holds all blocks so far and the tasks' anchors."""

    label = "DISCO"
    cumulative = True

    options = {
        "temperature": {
            "description": "tau: the smaller, the more the nearest task answers alone.",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.05,
        },
        "samples": {
            "description": "Rows of a task behind its anchor.",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        from stages.core.experts.ranks import slot_name
        from stages.methods.layers.pools import grown

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        by_key = self.ranks(job)
        ranks = {slot_name(slot): by_key[slot.key] for slot in job.slots}
        notes, tensors = grown(folder, job.task, ranks, expert["alpha"] / expert["rank"])
        notes["temperature"] = self.option(job, "temperature")
        pool = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        pool.restore(tensors, folder, grown=True)
        return pool

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        from stages.methods.layers.anchors import alone, drop_anchor

        def loss(batch: dict[str, Any]) -> Tensor:
            model.now.given = alone(model, batch)
            return model.answer_loss(batch)

        drop_anchor(model, rows, job, self.option(job, "samples"))
        describe, model.describe = model.describe, None
        history = run(model, loss, rows)
        model.describe = describe
        return history

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The pool that a state's notes describe; its weights follow the prompt's text."""
        from stages.methods.layers.anchors import anchors, near
        from stages.methods.layers.pools import build_pool

        extra = anchors(backbone, len(notes["tasks"]))
        pool = build_pool(backbone, notes, extra, dropout=dropout, seed=seed)

        def weights(inputs: dict[str, Any]) -> Tensor:
            return (near(pool, inputs)[1] / notes["temperature"]).softmax(dim=-1)

        pool.describe = weights
        return pool


METHOD = Disco

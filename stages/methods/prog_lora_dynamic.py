"""ProgLoRA, dynamic: a LoRA block per task, mixed by what the prompt asks for; no task identity.

Yu et al., Findings of ACL 2025. Query ``q = LayerNorm(W2 SiLU(W1 maxpool(prompt)))``, a key k_j
per block, ``w = softmax(K q / sqrt d)`` over all keys, ``y = W x + s sum_j w_j B_j A_j x``: one
weight vector per sample for all slots, found when the prompt is read and kept while the answer
is decoded. In task t block t, key t and the query net learn. Recall: of every finished task a few
pooled prompts and their mean weights are kept; the loss has
``lambda KL(stored, zero-padded || weights now)``, lambda = 1.

ASSUME, where the source is open: the prompt is the instruction's text tokens; keys start small,
so that weights start about equal; the mean weights of a task are those of its remembered prompts;
the KL is a mean over prompts and tasks; the query net narrows if it would take more than a quarter
of the budget; with one key there is nothing to learn about weights, so in the first task the block
has the whole budget. How the released code differs is in docs/fidelity.md; ``source: code``
follows it where that can be done sample by sample.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.mixture import MixtureMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run
    from stages.methods.layers.pools import Pooling

WIDEST = 100  # bottleneck of the query net as published


class ProgLoRADynamic(MixtureMethod):
    """The pool of blocks; every state holds all blocks so far."""

    label = "ProgLoRA dynamic"
    earlier_data = "features of prompts"

    options = {
        "bottleneck": {
            "description": "Width of the query net; null: 100, less if the budget is small.",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
        },
        "memory": {
            "description": "Prompts remembered of every finished task, as pooled features.",
            "type": "integer",
            "minimum": 1,
            "default": 64,
        },
        "recall": {
            "description": "Weight lambda of the KL on remembered prompts.",
            "type": "number",
            "minimum": 0,
            "default": 1.0,
        },
        "source": {
            "description": (
                "paper: q = LayerNorm(W2 SiLU(W1 p)), p of the instruction, and recall; "
                "code: q = LayerNorm(SiLU(W2 W1 p)), p of the image too, no recall."
            ),
            "enum": ["paper", "code"],
            "default": "paper",
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        from stages.core.backbone.features import feature_sizes
        from stages.core.experts.ranks import budget_of, slot_name, spread
        from stages.methods.layers.pools import grown

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        budget, width = budget_of(job), feature_sizes(backbone)[1]
        bottleneck = self.option(job, "bottleneck")
        if bottleneck is None:
            bottleneck = min(WIDEST, max(1, int(budget / 4 / (2 * width))))
        routing = (2 * bottleneck + 3) * width if folder else 0  # W1, W2, LayerNorm, key
        units = {slot_name(slot): slot.lora_parameters(1) for slot in job.slots}
        ranks = spread(units, dict.fromkeys(units, 1), budget - routing)
        notes, tensors = grown(folder, job.task, ranks, expert["alpha"] / expert["rank"])
        notes = {"allocations": [], "memories": []} | notes | {"bottleneck": bottleneck}
        notes["source"] = self.option(job, "source")
        pool = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        pool.restore(tensors, folder, grown=True)
        if not folder:
            pool.extra.requires_grad_(False)
        return pool

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        from stages.methods.layers.pools import prompts_of

        strength, notes = self.option(job, "recall"), model.notes
        pooling = pooling_of(notes)

        def loss(batch: dict[str, Any]) -> Tensor:
            model.now.given = model.extra(pooling(model, batch))
            answers = model.answer_loss(batch)
            if not notes["allocations"] or notes["source"] == "code":
                return answers
            forgotten = model.extra.recall(notes["allocations"])
            return answers + strength * forgotten * model.share(batch)

        model.describe = None  # the batch of training tells where its answers begin
        history = run(model, loss, rows)
        kept = pick(len(rows), self.option(job, "memory"), job.seed, f"{job.task} memory")
        size = as_usual(job.config["training"]["micro_batch_size"])
        prompts = prompts_of(model, rows.select(kept), size, pooling)
        notes["allocations"].append(model.extra(prompts).mean(dim=0).tolist())
        notes["memories"].append(len(prompts))
        model.extra.remember(prompts)
        model.describe = weigh(model)
        return history

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The pool that a state's notes describe; its weights follow the prompt."""
        import torch

        from stages.core.backbone.features import feature_sizes
        from stages.methods.layers.pools import Selector, build_pool

        torch.manual_seed(seed)
        width = feature_sizes(backbone)[1]
        selector = Selector(
            len(notes["tasks"]),
            width,
            notes["bottleneck"],
            notes["memories"],
            source=notes["source"],
        )
        pool = build_pool(backbone, notes, selector, dropout=dropout, seed=seed)
        pool.describe = weigh(pool)
        return pool


def weigh(pool: Mixture) -> Callable[[dict[str, Any]], Tensor]:
    """Weights of the blocks from the prompt: inputs of a pass -> ``(B, blocks)``."""
    pooling = pooling_of(pool.notes)
    return lambda inputs: pool.extra(pooling(pool, inputs))


def pooling_of(notes: dict[str, Any]) -> Pooling:
    """What weights see of a prompt: the instruction, in the released code the image too."""
    from stages.methods.layers.pools import max_prompt, max_prompt_and_image

    return max_prompt_and_image if notes["source"] == "code" else max_prompt


METHOD = ProgLoRADynamic

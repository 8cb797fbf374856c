"""ProgLoRA, static: a LoRA block per task, mixed by how alike the tasks are; task identity known.

Yu et al., Findings of ACL 2025. Prototype p_t = mean prompt of task t; its allocation row
``softmax(cos(p_t, p_k) / tau)``, k <= t, is fixed before training. Only block t learns, in
``y = W x + s sum_k row_k B_k A_k x``; at test the row stored with the task is used again, so
later tasks change nothing for it.

ASSUME, since the source fixes only the idea: a prompt's embedding is the mean over the
instruction's text tokens; tau is 0.05; a task not trained yet is answered with the row of the last
trained one.

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

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run


class ProgLoRAStatic(MixtureMethod):
    """The state of a task holds the blocks up to its own and its row."""

    label = "ProgLoRA static"
    knows_task = True
    cumulative = True

    options = {
        "temperature": {
            "description": "tau: the smaller, the more a task relies on its own block.",
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 0.05,
        },
        "samples": {
            "description": "Rows of the task behind its prototype.",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
    }

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        """The own state of a task that is learnt; for tasks to come, the last state."""
        if step == 0:
            return []
        return [tasks[min(step - 1, tasks.index(task))]]

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        from stages.core.experts.ranks import slot_name
        from stages.methods.layers.pools import grown

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        by_key = self.ranks(job)
        ranks = {slot_name(slot): by_key[slot.key] for slot in job.slots}
        notes, tensors = grown(folder, job.task, ranks, expert["alpha"] / expert["rank"])
        notes["allocation"] = [0.0] * len(notes["tasks"])  # the row, once the rows are seen
        pool = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        pool.restore(tensors, folder, grown=True)
        return pool

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        from stages.methods.layers.pools import mean_prompt, prompts_of

        chosen = pick(len(rows), self.option(job, "samples"), job.seed, f"{job.task} prototype")
        size = as_usual(job.config["training"]["micro_batch_size"])
        prompts = prompts_of(model, rows.select(chosen), size, mean_prompt)
        model.extra.vectors[-1].copy_(prompts.mean(dim=0))
        model.notes["allocation"] = model.extra.row(self.option(job, "temperature")).tolist()
        return run(model, model.answer_loss, rows)

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The pool that a state's notes describe; its weights are the stored row."""
        import torch

        from stages.core.backbone.features import feature_sizes
        from stages.methods.layers.pools import Prototypes, build_pool

        prototypes = Prototypes(len(notes["tasks"]), feature_sizes(backbone)[1])
        pool = build_pool(backbone, notes, prototypes, dropout=dropout, seed=seed)

        def row(inputs: dict[str, Any]) -> torch.Tensor:
            weights = torch.tensor(notes["allocation"], device=backbone.device)
            return weights.expand(len(inputs["input_ids"]), -1)

        pool.describe = row
        return pool


METHOD = ProgLoRAStatic

"""SMoLoRA: blocks for what is seen and for what is asked, one of each per sample.

Wang et al., ICCV 2025 (arXiv 2411.13949). A slot has two kinds of LoRA blocks, four each. Two
gates choose one block of each kind, at weight 1: W_v by the mean of the slot's input over the
prompt's tokens, W_i by a vector of the task's request. Of their outputs u_1 and u_2 a linear adds
``s (f_1 u_1 + f_2 u_2)`` with ``f = softmax(s c_1 u_1, s c_2 u_2)`` per token. Blocks and c learn
on through the stream.

As in the released code no gradient reaches a gate through its choice: gates stay as drawn.
``gates: learnt`` gives them the gradient of their softmax. ASSUME: the request's vector is the
task's mean text half in the backbone's own features, less that of requests in general (the
source's is Sentence-BERT's of one sentence, given with the task); at test it is that of the
nearest task, so no task identity is needed. A gate is of a slot, not of a linear; it never sees
the answer, which in the source is part of the mean.

The blocks' ranks are solved from the budget, the fusion included. The state is a mixture's (see
``stages.core.experts.mixtures``), not a PEFT folder.
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

FEWEST, MOST = 2, 4  # blocks of a kind, unless a number is asked for


class SMoLoRA(MixtureMethod):
    """One mixture on all slots, trained on through the stream, and the tasks' requests."""

    label = "SMoLoRA"

    off_budget = (
        "With one block of a kind there is nothing to choose, and two of each with their fusion "
        "cost more than expert.rank 8 on half of the slots. A larger expert.rank fits."
    )
    options = {
        "blocks": {
            "description": "Blocks of each kind; null: as many as the budget allows, 2 to 4.",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": None,
        },
        "gates": {
            "description": "drawn: gates stay as they start; learnt: they learn with the blocks.",
            "enum": ["drawn", "learnt"],
            "default": "drawn",
        },
        "samples": {
            "description": "Rows of a task behind the vector of its request.",
            "type": "integer",
            "minimum": 1,
            "default": 256,
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """Continue training blocks and fusion from the state of the task before."""
        from stages.core.backbone.features import feature_sizes
        from stages.core.experts.mixtures import read_state
        from stages.methods.layers.separable import build

        expert, folder = job.config["expert"], next(iter(states.values()), None)
        before, tensors = read_state(folder) if folder else ({"tasks": []}, {})
        notes = {
            "tasks": [*before["tasks"], job.task],
            "ranks": self.block_ranks(job, feature_sizes(backbone)[1]),
            "scale": expert["alpha"] / expert["rank"],
        }
        model = build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        model.restore(tensors, folder, grown=True)
        for slot in model.slots.values():
            slot.gate.requires_grad_(self.option(job, "gates") == "learnt")
        return model

    def block_ranks(self, job: Job, text_width: int) -> ExpertRanks:
        """Rank of each block; those of a slot differ by one at most."""
        from stages.core.experts.ranks import budget_of, slot_name, split, spread, width_of

        units = {slot_name(slot): slot.lora_parameters(1) for slot in job.slots}
        fusion = sum(2 * rows for slot in job.slots for rows, _ in slot.shapes)
        gates = sum(width_of(slot) + text_width for slot in job.slots)  # for a block of each kind
        if self.option(job, "gates") == "drawn":
            gates = 0
        number, left = self.option(job, "blocks"), budget_of(job) - fusion
        if number is None:
            fitting = int(left / (2 * sum(units.values()) + gates))
            number = min(max(fitting, FEWEST), MOST)
        totals = spread(units, dict.fromkeys(units, 2 * number), left - number * gates)
        return {name: split(total, 2 * number) for name, total in totals.items()}

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        from stages.methods.layers.separable import learn_request, told

        chosen = pick(len(rows), self.option(job, "samples"), job.seed, f"{job.task} request")
        size = as_usual(job.config["training"]["micro_batch_size"])
        learn_request(model, rows.select(chosen), size)

        def loss(batch: dict[str, Any]) -> Tensor:
            model.now.given = told(model, batch)
            return model.answer_loss(batch)

        describe, model.describe = model.describe, None
        history = run(model, loss, rows)
        model.describe = describe
        return history

    def build(self, backbone: Backbone, notes: dict[str, Any], **training: Any) -> Mixture:
        from stages.methods.layers.separable import build

        return build(backbone, notes, **training)


METHOD = SMoLoRA

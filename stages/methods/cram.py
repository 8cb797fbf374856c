"""CRAM: groups of experts by text, their mixture by image, their rank by what is new.

Tang et al., 2026 (arXiv 2606.02502). A task joins the group whose text prototype is near, or
founds one. In every slot the experts of a sample's group are mixed by
``pi = softmax(-|q - c|^2 / 2 sigma^2)``, q its image feature, c the experts' centroids:
``y = W x + s sum_e pi_e B_e A_e x``. A task's training: a warm-up of a buffer LoRA; its SVD gives
the expert's directions, large ones that are new to the group; then the expert and its centroid
learn, with ``lambda gamma |z Q|^2`` against outputs in the span of the group's older B. At test
the text picks the group and the image the experts, sample by sample; no task identity.

ASSUME, where the source is open: texts and images are the backbone's own pooled features (the
source's are CLIP's); an image feature has length 10, near CLIP's, since sigma is an absolute
length; prototypes are means of their tasks' means; the buffer learns alone, on a seeded sample of
rows, of which the group, the centroid's start and the rank follow, and main training reads all
rows; Q spans the older experts' B columns; z and Q are of a slot as one matrix; a centroid without
a rival does not learn. How the released code differs is in docs/fidelity.md; ``source: code``
follows it where that can be done sample by sample.

The state is a mixture's (see ``stages.core.experts.mixtures``), not a PEFT folder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.sampling import pick
from stages.core.training.batches import as_usual
from stages.methods.base import count
from stages.methods.mixture import MixtureMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from torch import Tensor

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.methods.base import Run


ABOVE = "exclusiveMinimum"


def number(default: float, description: str, least: str = "minimum") -> dict[str, Any]:
    """An option that is a number from 0 up, or above 0 (``exclusiveMinimum``)."""
    return {"description": description, "type": "number", least: 0, "default": default}


class CRAM(MixtureMethod):
    """Every state holds all experts so far, their centroids and the tasks' text features."""

    label = "CRAM"

    off_budget = (
        "The data decide each slot's rank, from 4 to 10, and a slot's linears share A; the source "
        "also fixes a buffer of rank 48, which learns in the warm-up and is not counted."
    )
    options = {
        "join_alone": number(0.8, "Cosine above which a task joins the only group."),
        "join_margin": number(0.1, "theta: lead of the nearest group for a task to join it."),
        "groups": count(10, "Groups at most."),
        "sigma": number(2.0, "Width of the experts' kernel on image features.", ABOVE),
        "image_norm": number(10.0, "Length that image features are scaled to.", ABOVE),
        "warmup": number(
            0.05, "Length of the warm-up, in parts of the main training's steps.", ABOVE
        ),
        "buffer_rank": count(48, "Rank of the LoRA of the warm-up."),
        "keep": number(0.08, "tau_alloc: singular value above which a direction counts."),
        "novel": number(0.99, "tau_novel: part of it that must be outside the group's rows."),
        "least_rank": count(4, "Rank of an expert at least."),
        "most_rank": count(10, "Rank of an expert at most."),
        "overlap": number(1.0, "Weight lambda of the penalty on outputs of older experts."),
        "source": {
            "description": "paper: all large directions may be new; code: the most_rank largest.",
            "enum": ["paper", "code"],
            "default": "paper",
        },
    }

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> Mixture:
        """All older experts, and the buffer as the new one."""
        from stages.core.experts.mixtures import read_state
        from stages.core.experts.ranks import slot_name

        expert, given = job.config["expert"], self.settings(job.config)
        folder = next(iter(states.values()), None)
        fresh = {"tasks": [], "groups": [], "ranks": {slot_name(slot): [] for slot in job.slots}}
        notes, tensors = read_state(folder) if folder else (fresh, {})
        notes |= {
            "tasks": [*notes["tasks"], job.task],
            "ranks": {k: [*ranks, given["buffer_rank"]] for k, ranks in notes["ranks"].items()},
            "scale": expert["alpha"] / expert["rank"],
            "sigma": given["sigma"],
            "image_norm": given["image_norm"],
        }
        model = self.build(backbone, notes, dropout=expert["dropout"], seed=job.seed)
        model.restore(tensors, folder, grown=True)
        for slot in model.slots.values():
            slot.gate.requires_grad_(False)
        return model

    def fit(self, model: Mixture, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        """Warm-up of the buffer, choice of group and rank, main training; the latter's history."""
        from stages.methods.layers.grouped_experts import older_bases, overlap, seen_in
        from stages.methods.layers.halves import halves_of

        given, describe = self.settings(job.config), model.describe
        early = rows.select(self.warmup_rows(len(rows), job))
        images, texts = halves_of(
            model, early, as_usual(job.config["training"]["micro_batch_size"]), given["image_norm"]
        )
        model.describe = None  # the gates are told batch by batch, without asking the prompt
        run(model, self.alone(model), early, epochs=1, warmup_ratio=0.0)

        group = self.place(model, texts, given)
        older = [e for e, other in enumerate(model.notes["groups"][:-1]) if other == group]
        self.shape(model, older, images, given)
        bases = older_bases(model, older) if older else None

        def loss(batch: dict[str, Any]) -> Tensor:
            model.now.given = seen_in(model, batch, group)
            answers = model.answer_loss(batch)
            if not older:
                return answers
            return answers + given["overlap"] * overlap(model, bases, batch) * model.share(batch)

        history = run(model, loss, rows)
        model.describe = describe
        return history

    def warmup_rows(self, total: int, job: Job) -> list[int]:
        """Rows of the warm-up, read once: whole steps, seeded."""
        training = job.config["training"]
        training = training | training["per_task"].get(job.task, {})
        steps = training["epochs"] * math.ceil(total / training["batch_size"])
        warm = math.ceil(self.option(job, "warmup") * steps)
        return pick(total, warm * training["batch_size"], job.seed, f"{job.task} warm-up")

    def alone(self, model: Mixture) -> Callable[[dict[str, Any]], Tensor]:
        """The answers' loss with the last expert alone, whatever the image."""
        import torch

        from stages.core.backbone.features import feature_sizes

        experts, width = len(model.notes["tasks"]), feature_sizes(model.backbone)[0]
        told = torch.zeros(1, experts + width, device=model.backbone.device)
        told[0, experts - 1] = 1

        def loss(batch: dict[str, Any]) -> Tensor:
            model.now.given = told.expand(len(batch["input_ids"]), -1)
            return model.answer_loss(batch)

        return loss

    def place(self, model: Mixture, texts: Tensor, given: dict[str, Any]) -> int:
        """Assign the task to a group, which never changes; return the group."""
        from stages.methods.layers.grouped_experts import join

        groups = model.notes["groups"]
        mean = texts.mean(dim=0)
        model.extra.vectors[-1].copy_(mean)
        scores = model.extra.scores(mean[None], groups)[0].tolist() if groups else []
        joined = join(
            scores, alone=given["join_alone"], margin=given["join_margin"], most=given["groups"]
        )
        group = len(scores) if joined is None else joined
        model.notes["groups"] = [*groups, group]
        return group

    def shape(
        self, model: Mixture, older: list[int], images: Tensor, given: dict[str, Any]
    ) -> None:
        """Cut the buffer of every slot to the expert; put its centroid at the mean image."""
        import torch

        from stages.methods.layers.adaptive_rank import cut

        limits = {key: given[key] for key in ("keep", "novel", "source")}
        limits |= {"least": given["least_rank"], "most": given["most_rank"]}
        for name, slot in model.slots.items():
            model.ranks[name][-1] = cut(slot, older, model.scale, **limits)
            centroid = slot.gate.centroids[-1].requires_grad_(bool(older))
            with torch.no_grad():
                centroid.copy_(images.mean(dim=0))

    def build(self, backbone: Backbone, notes: dict[str, Any], **training: Any) -> Mixture:
        from stages.methods.layers.grouped_experts import build

        return build(backbone, notes, **training)


METHOD = CRAM

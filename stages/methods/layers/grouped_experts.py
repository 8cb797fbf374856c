"""Groups of experts, mixed by how near an image is to their centroids (CRAM).

A slot is treated as one matrix: its linears share the A of every expert, their B stacked are the
expert's B. With a fused projection that is the same thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.backbone.features import feature_sizes
from stages.core.backbone.load import Backbone
from stages.core.experts.gates import Gate
from stages.core.experts.mixtures import Mixture
from stages.methods.layers.adaptive_rank import basis, stacked
from stages.methods.layers.halves import image_halves, text_halves

# --- first level: which group ---------------------------------------------------------------


def join(scores: Sequence[float], *, alone: float, margin: float, most: int) -> int | None:
    """The group a new task joins; None: it founds one.

    Args:
        scores: cosines to the prototypes of the groups.
        alone: one group is joined if its cosine is above this.
        margin: of several the best is joined if it leads the second by more than this.
        most: groups there may be; then the best is joined in any case.
    """
    if not scores:
        return None
    first, *others = sorted(scores, reverse=True)
    close = first - others[0] > margin if others else first > alone
    return scores.index(first) if close or len(scores) >= most else None


class TaskTexts(nn.Module):
    """The mean text feature of every task, frozen; a group's prototype is the mean of its own."""

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        vectors = (nn.Parameter(torch.zeros(width), requires_grad=False) for _ in range(tasks))
        self.vectors = nn.ParameterList(vectors)

    def scores(self, texts: Tensor, groups: Sequence[int]) -> Tensor:
        """Cosines ``(n, groups)`` of text features ``(n, d)`` to the groups' prototypes.

        Args:
            groups: group of each of the first tasks; a later task has none yet.
        """
        own = torch.tensor(groups, device=texts.device)
        every = torch.stack(list(self.vectors)[: len(groups)])
        prototypes = [every[own == group].mean(dim=0) for group in range(max(groups) + 1)]
        return F.cosine_similarity(texts[:, None], torch.stack(prototypes), dim=-1)


# --- second level: which experts of the group -----------------------------------------------


class CentroidGate(Gate):
    """``softmax(-|q - c_e|^2 / 2 sigma^2)`` over the experts of the sample's group.

    ``now.given`` is ``(B, N + d)``: which experts are in the group (1 or 0), and the image
    feature q. In training the slot's last input is kept for the overlap penalty.
    """

    def __init__(self, width: int, experts: int, sigma: float) -> None:
        super().__init__()
        self.centroids = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(experts))
        self.centroids[:-1].requires_grad_(False)
        self.sigma = sigma
        self.read: Tensor | None = None

    def shares(self) -> Tensor:
        """Weights of the experts for each sample, ``(B, N)``."""
        centroids = torch.stack(list(self.centroids))
        members, image = self.now.given.split([len(centroids), centroids.shape[1]], dim=1)
        distance = ((image[:, None] - centroids) ** 2).sum(dim=-1)
        logits = (-distance / (2 * self.sigma**2)).masked_fill(members == 0, float("-inf"))
        return logits.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every row, ``(rows, 1, N)``."""
        if self.training:
            self.read = x.detach()
        return self.by_row(self.shares(), x)[:, None]


# --- penalty --------------------------------------------------------------------------------


def visual_means(model: Mixture, gate: CentroidGate, batch: dict[str, Any]) -> Tensor:
    """Mean visual token that a slot read in the last pass, per sample ``(B, in)``; zero without
    an image."""
    ids = batch["input_ids"]
    owner = model.owner(batch)
    read = gate.read.float()
    if gate.tower == "vision":
        sums = read.new_zeros(len(ids), read.shape[-1]).index_add(0, owner, read.mean(dim=1))
        return sums / torch.bincount(owner, minlength=len(ids)).clamp(min=1)[:, None]
    seen = (ids == model.model.config.image_token_id).float()
    return torch.einsum("bt,btd->bd", seen, read) / seen.sum(dim=1, keepdim=True).clamp(min=1)


def overlap(model: Mixture, bases: dict[str, Tensor], batch: dict[str, Any]) -> Tensor | float:
    """Mean over slots and samples of ``gamma |z Q|^2``, after a pass over the batch.

    z is the new expert's output on the sample's mean visual token, gamma the weight of the
    other experts of the group together.

    Args:
        bases: Q of every slot, ``(all outputs, k)``: the span of the group's older B.
    """
    if not len(model.owner(batch)):
        return 0.0
    terms = []
    for name, slot in model.slots.items():
        linears = list(slot.linears.values())
        inner = F.linear(visual_means(model, slot.gate, batch), linears[0].a[-1])
        z = model.scale * F.linear(inner, torch.cat([linear.b[-1] for linear in linears]))
        gamma = slot.gate.shares()[:, :-1].sum(dim=1)
        terms.append((gamma * (z @ bases[name]).square().sum(dim=1)).mean())
    return torch.stack(terms).mean()


def older_bases(model: Mixture, older: Sequence[int]) -> dict[str, Tensor]:
    """Q ``(out, k)`` of every slot: an orthonormal basis of the columns of these experts' B."""
    return {
        name: basis(torch.cat(stacked(slot, older)[1], dim=1)) for name, slot in model.slots.items()
    }


# --- building -------------------------------------------------------------------------------


def build(
    backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
) -> Mixture:
    """The mixture that a state's notes describe; of its experts only the last learns."""
    vision, text = feature_sizes(backbone)
    model = Mixture(
        backbone,
        notes["ranks"],
        lambda slot, experts: CentroidGate(vision, experts, notes["sigma"]),
        scale=notes["scale"],
        dropout=dropout,
        seed=seed,
        extra=TaskTexts(len(notes["tasks"]), text),
        notes=notes,
    )
    for slot in model.slots.values():
        first, *others = slot.linears.values()
        for linear in others:
            linear.a = first.a  # the slot is one matrix
        for linear in (first, *others):
            for matrix in [*linear.a[:-1], *linear.b[:-1]]:
                matrix.requires_grad_(False)
    model.describe = lambda inputs: seen_in(model, inputs)
    return model


def seen_in(model: Mixture, inputs: dict[str, Any], group: int | None = None) -> Tensor:
    """What the gates need of each sample, ``(B, N + d_v)``: the group's experts, the image.

    Args:
        group: of all samples; None: of each the one with the nearest prototype.
    """
    groups = model.notes["groups"]
    own = torch.tensor(groups, device=inputs["input_ids"].device)
    if group is None:
        chosen = model.extra.scores(text_halves(model, inputs), groups).argmax(dim=1)
    else:
        chosen = own.new_full((len(inputs["input_ids"]),), group)
    members = (chosen[:, None] == own).float()
    return torch.cat([members, image_halves(model, inputs, model.notes["image_norm"])], dim=1)

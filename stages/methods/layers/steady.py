"""Gates and experts that learn little where earlier tasks' inputs vary (SAME).

A slot remembers the directions in which its inputs vary most: an eigendecomposition of their
uncentred covariance over the tasks so far. Gradients are rescaled along these directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.experts.gates import Gate, TokenGate

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone
    from stages.core.experts.mixtures import Mixture, SlotMixture

WINDOW = 3  # neighbouring variances that are averaged before they scale the router
LEAST = 0.8  # of the router's gradient along a kept direction


# --- rules ----------------------------------------------------------------------------------


def spectral(gradient: Tensor, basis: Tensor, variances: Tensor) -> Tensor:
    """``G V g V^T + G (I - V V^T)``: a router's gradient, smaller where inputs vary more.

    ``g_i`` is the smallest averaged variance over the i-th, at least :data:`LEAST`; the average
    is over the direction and the larger ones before it in its :data:`WINDOW`.

    Args:
        gradient: G ``(N, in)``.
        basis: V ``(in, k)``, orthonormal; columns whose variance is 0 do not count.
        variances: of its columns ``(k,)``, in descending order.
    """
    kept = int((variances > 0).sum())
    if not kept:
        return gradient
    averaged = torch.stack([variances[max(0, i - WINDOW + 1) : i + 1].mean() for i in range(kept)])
    scales = (averaged.min() / averaged).clamp(min=LEAST)
    basis = basis[:, :kept]
    return gradient + (gradient @ basis * (scales - 1)) @ basis.T


def curved(gradient: Tensor, basis: Tensor, variances: Tensor, damping: float) -> Tensor:
    """``G C^-1`` with ``C^-1 = V (S + mu)^-1 V^T + (I - V V^T) / mu``: the gradient of an A.

    Args:
        gradient: G ``(r, in)``.
        basis: V ``(in, k)``, orthonormal or zero in columns whose variance is 0.
        variances: S ``(k,)``.
        damping: mu.
    """
    scales = 1 / (variances + damping) - 1 / damping
    return gradient / damping + (gradient @ basis * scales) @ basis.T


def idle(use: Tensor, importance: Tensor, threshold: float) -> Tensor:
    """Which experts sleep: those whose use now, less their importance before, is below the
    threshold (each of the two scaled to 0..1 over the experts); never the best one. ``(N,)``."""
    scores = _scaled(use) - _scaled(importance)
    low = scores < threshold
    low[scores.argmax()] = False
    return low


def _scaled(values: Tensor) -> Tensor:
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else torch.zeros_like(values)


# --- what a slot has seen -------------------------------------------------------------------


@dataclass
class Seen:
    """Sums over the tokens that a slot read, without padding."""

    tokens: int
    squares: Tensor  # of x x^T, (in, in)
    use: Tensor  # of the experts' weights, (N,)
    energy: Tensor  # of the experts' weights times |x|^2, (N,)

    @classmethod
    def of(cls, x: Tensor, weights: Tensor) -> Seen:
        """Of tokens ``(n, in)`` and the weights of their experts ``(n, N)``."""
        energy = weights * x.square().sum(dim=1, keepdim=True)
        return cls(len(x), x.T @ x, weights.sum(dim=0), energy.sum(dim=0))

    def __add__(self, other: Seen) -> Seen:
        """The sums over the tokens of both."""
        return Seen(
            self.tokens + other.tokens,
            self.squares + other.squares,
            self.use + other.use,
            self.energy + other.energy,
        )


class SteadyGate(TokenGate):
    """A gate on every token that remembers its inputs' main directions and its experts'
    importance.

    In training the experts that are ``asleep`` have weight 0.
    """

    def __init__(self, width: int, experts: int, components: int) -> None:
        super().__init__(width, experts)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape), requires_grad=False)

        kept = min(components, width)
        self.tokens = zeros(1)
        self.basis, self.variances = zeros(width, kept), zeros(kept)
        self.importance = zeros(experts)
        self.asleep: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every token, float32 ``(rows, length, N)``."""
        scores = F.linear(x.float(), self.weight).float()
        if self.training and self.asleep is not None:
            scores = scores.masked_fill(self.asleep, -math.inf)
        return scores.softmax(-1)

    @torch.no_grad()
    def remember(self, seen: Seen, energy: float) -> None:
        """Add a task's inputs, each token with the same weight, and keep the fewest directions
        whose squared variances are ``energy`` of all."""
        before = self.tokens * self.variances * self.basis @ self.basis.T
        self.tokens += seen.tokens
        variances, basis = torch.linalg.eigh((before + seen.squares) / self.tokens)
        variances, basis = variances.flip(0).clamp(min=0), basis.flip(1)
        part = variances.square().cumsum(0) / variances.square().sum()
        kept = min(int((part < energy).sum()) + 1, len(self.variances))
        self.variances.zero_()[:kept] = variances[:kept]
        self.basis.zero_()[:, :kept] = basis[:, :kept]

    @torch.no_grad()
    def weigh(self, seen: Seen) -> None:
        """Add a task's part to the experts' importance; its tokens are remembered already."""
        before = self.importance * (self.tokens - seen.tokens)
        self.importance.copy_((before + seen.energy) / self.tokens)


@torch.no_grad()
def look(model: Mixture, rows: Dataset, size: int) -> dict[str, Seen]:
    """What every slot reads of rows with their answers; slots that none reached are left out."""
    model.eval()
    found: dict[str, Seen] = {}
    handles = [
        next(iter(slot.linears.values())).register_forward_pre_hook(_watch(found, name, slot.gate))
        for name, slot in model.slots.items()
    ]
    try:
        for batch in _whole_batches(model.backbone, rows, size):
            model.model(**batch, logits_to_keep=1, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _watch(found: dict[str, Seen], name: str, gate: Gate) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, Tensor]) -> None:
        real = gate.now.mask.bool() if gate.tower == "llm" else ...
        x, weights = (part[real].flatten(0, -2).float() for part in args)
        seen = Seen.of(x, weights)
        found[name] = found[name] + seen if name in found else seen

    return hook


def _whole_batches(backbone: Backbone, rows: Dataset, size: int) -> Iterator[dict[str, Any]]:
    """All rows with their answers, in batches without labels."""
    for start in range(0, len(rows), size):
        part = rows.select(range(start, min(start + size, len(rows))))
        batch = backbone.prompter.collate([backbone.prompter.training_example(r) for r in part])
        yield backbone.to_device(
            {k: v for k, v in batch.items() if k not in ("sample_id", "labels")}
        )


# --- training -------------------------------------------------------------------------------


def put_to_sleep(slot: SlotMixture, which: Tensor) -> None:
    """These experts ``(N,)`` of a slot neither answer in training nor learn."""
    slot.gate.asleep = which
    for linear in slot.linears.values():
        for matrix, sleeps in zip([*linear.a, *linear.b], [*which, *which], strict=True):
            matrix.requires_grad_(not sleeps)


def hold_experts(slot: SlotMixture, damping: float) -> list[Any]:
    """Scale the gradients of A by what the slot remembers now; handles that undo it."""
    basis, variances = slot.gate.basis.clone(), slot.gate.variances.clone()
    return [
        a.register_hook(lambda gradient: curved(gradient, basis, variances, damping))
        for linear in slot.linears.values()
        for a in linear.a
    ]


def hold_router(gate: SteadyGate) -> list[Any]:
    """Scale the gradient of the router by what it remembers now; handles that undo it."""
    basis, variances = gate.basis.clone(), gate.variances.clone()
    return [gate.weight.register_hook(lambda gradient: spectral(gradient, basis, variances))]

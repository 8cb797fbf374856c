"""Gates of mixtures: the weight of each expert of a slot, and what they see of a forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.base.errors import InputError


@dataclass
class Pass:
    """What gates need to know about the current forward pass."""

    prompt: bool = True  # it reads a whole sequence, not one more decoded token
    plain: bool = False  # the slots answer as in the pretrained backbone
    mask: Tensor | None = None  # (B, T), 0 at padding
    owner: Tensor | None = None  # (tiles,), the sample of each image tile
    given: Tensor | None = None  # (B, ...), what the method computed of each sample


def fresh_matrix(rows: int, columns: int) -> nn.Parameter:
    """A matrix as ``nn.Linear`` and LoRA's A start: kaiming-uniform(a=sqrt 5), float32."""
    matrix = nn.Parameter(torch.empty(rows, columns, dtype=torch.float32))
    nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
    return matrix


def keep_top(shares: Tensor, count: int | None) -> Tensor:
    """Shares with only the ``count`` largest of the last axis, rescaled to sum to 1.

    All of them for ``count`` None, or if there are no more.
    """
    if count is None or count >= shares.shape[-1]:
        return shares
    top, index = shares.topk(count, dim=-1)
    return torch.zeros_like(shares).scatter(-1, index, top / top.sum(-1, keepdim=True))


def balance_loss(shares: Tensor, weights: Tensor) -> Tensor:
    """Switch Transformer's load-balance loss ``N sum_i f_i P_i`` of one slot; 1 if balanced.

    Args:
        shares: gate softmax ``(tokens, N)``; P is its mean.
        weights: the same after ``keep_top``; f_i is the part of all choices that fell on i.
    """
    chosen = (weights > 0).float()
    return shares.shape[-1] * (chosen.mean(0) / chosen.sum(-1).mean() * shares.mean(0)).sum()


class Gate(nn.Module):
    """Weights of a slot's experts: x ``(rows, length, in)`` -> ``(rows, length or 1, N)``.

    A row is a sample in the language model and an image tile in the vision encoder.
    """

    tower: str
    now: Pass

    def attach(self, tower: str, now: Pass) -> None:
        """Tell the gate where its slot is, and where to read of the forward pass."""
        self.tower, self.now = tower, now

    def by_row(self, values: Tensor, x: Tensor) -> Tensor:
        """A value per sample ``(B, ...)`` as one per row of x: a tile has its sample's.

        Raises:
            InputError: a backbone that packs all tiles into one row.
        """
        rows = values if self.tower == "llm" else values[self.now.owner]
        if x.dim() != 3 or len(x) != len(rows):
            raise InputError(
                f"per-sample experts need one row per image tile in the {self.tower} tower; "
                f"this backbone's is {tuple(x.shape)}. Use a method that routes per token."
            )
        return rows


class TokenGate(Gate):
    """A bias-free softmax gate on every token; ``top_k`` as in :func:`keep_top`.

    With ``balanced`` it also keeps ``balance``, the load-balance loss of the last pass.
    """

    def __init__(
        self, width: int, experts: int, top_k: int | None = None, balanced: bool = False
    ) -> None:
        super().__init__()
        self.weight = fresh_matrix(experts, width)
        self.top_k, self.balanced = top_k, balanced
        self.balance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every token, float32 ``(rows, length, N)``."""
        shares = F.linear(x.float(), self.weight).float().softmax(-1)
        weights = keep_top(shares, self.top_k)
        if self.balanced and self.training:
            real = self.now.mask.bool() if self.tower == "llm" else ...
            pair = shares[real], weights[real]
            self.balance = balance_loss(*(part.flatten(0, -2) for part in pair))
        return weights


class SequenceGate(Gate):
    """One softmax gate per task on a row's first token; the row's task is ``now.given``.

    Only the last task's router learns. Weights are found when the prompt is read and kept while
    the answer is decoded. In a causal language model the first token sees nothing but itself, so
    there a task's weights are the same for all samples; in the vision encoder they follow the
    image.
    """

    def __init__(self, width: int, experts: int, tasks: int, top_k: int | None) -> None:
        super().__init__()
        self.routers = nn.ParameterList(fresh_matrix(experts, width) for _ in range(tasks))
        self.routers[:-1].requires_grad_(False)
        self.top_k = top_k
        self.shares: Tensor | None = None  # (rows, N) before the choice, of the last prompt

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every row, float32 ``(rows, 1, N)``."""
        if self.now.prompt:
            routers = torch.stack(list(self.routers))[self.by_row(self.now.given, x)]
            scores = torch.einsum("rnd,rd->rn", routers, self._first(x).float())
            self.shares = scores.float().softmax(-1)
        return keep_top(self.shares, self.top_k)[:, None]

    def _first(self, x: Tensor) -> Tensor:
        """The first token that is no padding, ``(rows, in)``."""
        if self.tower == "vision":
            return x[:, 0]
        return x[torch.arange(len(x), device=x.device), self.now.mask.argmax(dim=1)]


class SampleGate(Gate):
    """The weights that the method computed of each sample: ``now.given`` is ``(B, N)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every row, ``(rows, 1, N)``."""
        return self.by_row(self.now.given, x)[:, None]

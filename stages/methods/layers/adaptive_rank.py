"""An expert's rank and start from the singular directions of a larger one (CRAM).

A slot is treated as one matrix: its linears share A, their B stacked are its B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from stages.core.experts.mixtures import SlotMixture


def stacked(slot: SlotMixture, experts: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """A ``(r, in)`` and stacked B ``(all outputs, r)`` of some experts of a slot."""
    linears = list(slot.linears.values())
    a = [linears[0].a[e].detach() for e in experts]
    return a, [torch.cat([linear.b[e].detach() for linear in linears]) for e in experts]


def decompose(b: Tensor, a: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """SVD of ``scale B A``, from the factors B ``(out, r)`` and A ``(r, in)``.

    Returns:
        ``U`` (out, r), ``S`` (r,) and ``V^T`` (r, in).
    """
    left, small_b = torch.linalg.qr(b)
    right, small_a = torch.linalg.qr(a.T)
    u, sigma, vh = torch.linalg.svd(scale * small_b @ small_a.T, full_matrices=False)
    return left @ u, sigma, vh @ right.T


def basis(columns: Tensor) -> Tensor:
    """Orthonormal basis ``(d, k)`` of the span of ``(d, n)``; k = 0 for n = 0."""
    u, sigma, _ = torch.linalg.svd(columns, full_matrices=False)
    return u[:, sigma > 1e-6 * sigma.max()] if len(sigma) else u


def directions(
    sigma: Tensor,
    right: Tensor,
    known: Tensor,
    *,
    keep: float,
    novel: float,
    least: int,
    most: int,
    source: str = "paper",
) -> list[int]:
    """Which singular directions an expert gets, by falling singular value.

    Those above ``keep`` whose right vector lies outside the known row space by more than
    ``novel`` of its length; then refilled with the largest others to ``least``, cut to ``most``.

    Args:
        sigma: ``(k,)``, falling.
        right: right singular vectors, ``(k, in)``.
        known: orthonormal basis ``(in, m)`` of the row space of the group's experts.
        source: ``code`` cuts to the ``most`` largest before it asks which are novel, as the
            released code does.
    """
    outside = (right - right @ known @ known.T).norm(dim=1) / right.norm(dim=1)
    wanted = (sigma > keep) & (outside > novel)
    if source == "code":
        wanted[most:] = False
    wanted = wanted.tolist()
    kept = [i for i, yes in enumerate(wanted) if yes]
    rest = [i for i, yes in enumerate(wanted) if not yes]
    kept += rest[: max(0, least - len(kept))]
    return sorted(kept)[:most]


def outside_part(right: Tensor, known: Tensor) -> Tensor:
    """The part of each row of ``right`` (k, in) outside the known row space, at length 1.

    ASSUME: a row that lies inside altogether, with which an expert was refilled, stays as it is.
    """
    outside = right - right @ known @ known.T
    length = outside.norm(dim=1, keepdim=True)
    inside = length < 1e-4 * right.norm(dim=1, keepdim=True)
    return torch.where(inside, right, outside / length)


def cut(slot: SlotMixture, older: Sequence[int], scale: float, **limits: Any) -> int:
    """Replace the slot's last expert, the buffer, by its best directions; the rank.

    ``A = sqrt(S) V'^T``, ``B = U sqrt(S) / scale``, with V' the directions' part outside the older
    experts' rows, at length 1. Without older experts, scale B A is the buffer on these directions.

    Args:
        older: earlier experts of the same group.
        limits: as in :func:`directions`.
    """
    linears = list(slot.linears.values())
    (a,), (b,) = stacked(slot, [-1])
    u, sigma, vh = decompose(b, a, scale)
    known = basis(torch.cat([a[:0], *stacked(slot, older)[0]]).T)
    chosen = directions(sigma, vh, known, **limits)
    root = sigma[chosen].sqrt()
    # the other linears' too
    linears[0].a[-1] = nn.Parameter(root[:, None] * outside_part(vh[chosen], known))
    parts = (u[:, chosen] * root / scale).split([len(linear.b[-1]) for linear in linears])
    for linear, part in zip(linears, parts, strict=True):
        linear.b[-1] = nn.Parameter(part.clone())
    return len(chosen)

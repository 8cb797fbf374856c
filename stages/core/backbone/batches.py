"""Rows of similar length together, in batches that are padded little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from stages.core.backbone.prompts import IGNORE

if TYPE_CHECKING:
    from stages.core.backbone.prompts import Prompter

T = TypeVar("T")


class Size(NamedTuple):
    """Tokens of a row in the language model."""

    tokens: int
    image_tokens: int  # of them those that stand for images
    answer: int  # of them those that are predicted


BatchSize = int | Callable[[Size], int]
"""Rows at a time: a number, or what gives it for the largest of them."""


def prompt_size(prompter: Prompter, row: dict[str, Any]) -> Size:
    """Of a test row's prompt."""
    return _size(prompter, prompter.prompt(row["turns"], prompter.tile_counts(row)), [])


def training_size(prompter: Prompter, row: dict[str, Any]) -> Size:
    """Of a training row."""
    return _size(prompter, *prompter.training_ids(row))


def _size(prompter: Prompter, ids: list[int], labels: list[int]) -> Size:
    image = prompter.images.config.image_token_id
    return Size(len(ids), ids.count(image), len(labels) - labels.count(IGNORE))


def largest(sizes: Sequence[Size]) -> Size:
    """The most of each that any of them has."""
    return Size(*map(max, zip(*sizes, strict=True)))


def by_length(items: Sequence[T], sizes: Sequence[Size], batch_size: BatchSize) -> list[list[T]]:
    """Batches of items, the longest first, so that what memory cannot hold shows at once."""
    order = sorted(range(len(items)), key=lambda i: -sizes[i].tokens)
    found, start = [], 0
    while start < len(order):
        part = order[start : start + _most(batch_size, [sizes[order[start]]])]
        part = part[: _most(batch_size, [sizes[i] for i in part])]  # a shorter row may have more
        found.append([items[i] for i in part])  # image tokens than the longest
        start += len(part)
    return found


def _most(batch_size: BatchSize, sizes: Sequence[Size]) -> int:
    return batch_size(largest(sizes)) if callable(batch_size) else batch_size

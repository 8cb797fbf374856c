"""Which methods are ahead: the order of tables and pictures, and what is marked in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.methods.registry import BOUNDS

Mean = dict[str, Any]  # mean and half_width of the 95 % interval, each a number or None


def ranked(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of the comparison by ``last``, highest first; those without it at the end."""

    def place(entry: dict[str, Any]) -> tuple[bool, float]:
        last = entry["metrics"]["last"]["mean"]
        return (last is None, -(last or 0))

    return sorted(methods, key=place)


def marks(values: Mapping[str, Mean], *, lowest: bool = False) -> dict[str, str]:
    """``best`` for the best mean of a continual learner, ``near`` for those within its interval."""
    sign = -1 if lowest else 1
    rivals = {
        name: value
        for name, value in values.items()
        if name not in BOUNDS and value["mean"] is not None
    }
    if len(rivals) < 2:
        return {}
    top = max(rivals.values(), key=lambda value: sign * value["mean"])
    reach = sign * top["mean"] - (top["half_width"] or 0)
    return {
        name: "best" if value["mean"] == top["mean"] else "near"
        for name, value in rivals.items()
        if sign * value["mean"] >= reach
    }

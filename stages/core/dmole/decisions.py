"""What the stages decide and people may change, read back with a check of what it means.

An edit that fits the schema can still be wrong: a parent from the future, a slot that is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any

from stages.core.base.artifacts import read_json
from stages.core.base.errors import InputError, unknown

Key = tuple[str, int, str]  # tower, block, kind of a slot


def _read(name: str, path: Path, task: str) -> dict[str, Any]:
    content = read_json(name, path)
    if content["task"] != task:
        raise InputError(f"{path}: of task {content['task']!r}, expected {task!r}.")
    return content


def read_router(path: Path, task: str) -> dict[str, Any]:
    """The threshold file of a task.

    Raises:
        InputError: a file of another task, or one that violates its schema.
    """
    return _read("router", path, task)


def read_transfer(path: Path, task: str, earlier: Sequence[str]) -> dict[str, Any]:
    """The choice of a parent.

    Args:
        earlier: the tasks before this one, in the order of the stream.

    Raises:
        InputError: a parent that is not among them, or a file of another task.
    """
    content = _read("transfer", path, task)
    if content["parent"] not in (None, *earlier):
        raise InputError(
            f"{path}: parent: {content['parent']!r} is not learnt before {task!r}; allowed: "
            f"{', '.join([*earlier, 'null'])}."
        )
    return content


def read_allocation(path: Path, task: str) -> dict[str, Any]:
    """The slots of a task.

    Raises:
        InputError: a slot given twice, or a file of another task.
    """
    content = _read("allocation", path, task)
    seen = Counter(map(_key, content["slots"]))
    if twice := [key for key, count in seen.items() if count > 1]:
        raise InputError(f"{path}: slots: {_named(twice[0])} is given twice; remove one.")
    return content


def check_fit(
    allocation: Mapping[str, Any], path: Path, slots: Collection[Key], expert: Mapping[str, Any]
) -> None:
    """Check an allocation against the backbone and the experts to train.

    Args:
        path: the file it was read from.
        slots: keys of the backbone's slots.
        expert: the config key of this name.

    Raises:
        InputError: a slot that the backbone does not have, or another rank or alpha.
    """
    for key in map(_key, allocation["slots"]):
        if key not in slots:
            raise unknown("slot", _named(key), map(_named, slots), f"{path}: slots")
    for name, value in allocation["expert"].items():
        if not isclose(value, expert[name], rel_tol=1e-8):  # JSON has 9 digits
            raise InputError(
                f"{path}: expert.{name}: {value} in the allocation, {expert[name]} in the "
                f"configuration, which decides; set expert.{name} there."
            )


def _key(slot: Mapping[str, Any]) -> Key:
    return slot["tower"], slot["block"], slot["slot"]


def _named(key: Key) -> str:
    return ".".join(map(str, key))


def read_decision(name: str, path: Path, task: str, earlier: Sequence[str]) -> dict[str, Any]:
    """An allocation, a router or a transfer by its name, checked as above."""
    if name == "transfer":
        return read_transfer(path, task, earlier)
    return {"allocation": read_allocation, "router": read_router}[name](path, task)

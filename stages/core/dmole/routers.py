"""Routers of every kind: their files, and what they say of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.base.reading import read_weights
from stages.core.dmole import autoencoder, neighbours, prototype
from stages.core.dmole.autoencoder import Autoencoder
from stages.core.dmole.neighbours import Neighbours
from stages.core.dmole.prototype import Prototype

Router = Autoencoder | Neighbours | Prototype
KINDS: dict[str, Any] = {
    "autoencoder": autoencoder,
    "neighbours": neighbours,
    "prototype": prototype,
}


def losses(router: Router, z: np.ndarray) -> np.ndarray:
    """Loss of each feature row of ``z`` (n, d), (n,); rows do not depend on each other."""
    return KINDS[router.kind].losses(router, z)


# --- Files ---------------------------------------------------------------------------------------


def packed(router: Router) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A router's tensors, and the notes (with its kind) from which :func:`rebuild` makes it."""
    tensors, notes = router.packed()
    return tensors, {"kind": router.kind, **notes}


def rebuild(tensors: Mapping[str, Tensor], notes: Mapping[str, str], path: Path) -> Router:
    """The router that :func:`packed` took apart, read from ``path``; ``notes`` also name the task.

    Raises:
        InputError: they make no router.
    """
    kind = KINDS.get(notes.get("kind", ""))
    if kind is None:
        raise InputError(f"{path}: not a router ({', '.join(KINDS)}). Fit it again.")
    try:
        return kind.rebuild(tensors, notes)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        fault = str(error).splitlines()[0]
        raise InputError(f"{path}: not a router of this kind: {fault}. Fit it again.") from None


def save(router: Router, path: Path, provenance: dict) -> None:
    """Write a router as safetensors."""
    tensors, notes = packed(router)
    artifacts.write_weights(path, tensors, provenance, task=router.task, **notes)


def load(path: Path) -> Router:
    """Read what :func:`save` wrote.

    Raises:
        InputError: not a router file.
    """
    return rebuild(*read_weights(path), path)


def load_all(
    paths: Sequence[Path], tasks: Sequence[str], features: Features, source: Path
) -> list[Router]:
    """The routers of ``tasks``, one file each in the same order, for rows of ``features``.

    Raises:
        InputError: a router of another task, or of other dimensions than the features of ``source``
            (both files are named).
    """
    _one_each(paths, tasks, "--routers")
    models = [load(path) for path in paths]
    for model, path, task in zip(models, paths, tasks, strict=True):
        _expect_task(path, model.task, task)
        if model.dim != features.z.shape[1]:
            raise InputError(
                f"{path}: the router takes {model.dim} features, but the rows of {source} have "
                f"{features.z.shape[1]}; both must come from the same backbone."
            )
    return models


def read_thresholds(paths: Sequence[Path], tasks: Sequence[str]) -> dict[str, float]:
    """Thresholds from the JSON files of routers, one per task in the same order.

    Raises:
        InputError: not one file per task, or a file of another task.
    """
    _one_each(paths, tasks, "--thresholds")
    routers = [artifacts.read_json("router", path) for path in paths]
    for router, path, task in zip(routers, paths, tasks, strict=True):
        _expect_task(path, router["task"], task)
    return {router["task"]: router["threshold"] for router in routers}


def _one_each(paths: Sequence[Path], tasks: Sequence[str], flag: str) -> None:
    if len(paths) != len(tasks):
        raise InputError(
            f"{flag}: {len(paths)} files for {len(tasks)} tasks ({', '.join(tasks)}); "
            "give one each, in the order of the tasks."
        )


def _expect_task(path: Path, found: str, task: str) -> None:
    if found != task:
        raise InputError(
            f"{path}: made for task {found!r}, expected {task!r}; "
            "files must come in the order of the tasks."
        )


# --- Features ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Features:
    """Feature rows of one task: ``z`` is a float32 array (n, d) in the order of ``sample_ids``.

    ``wordings`` (m, d) are rows of the same samples asked in other words; ``vision_dim`` is the
    width of the image half, None where the file does not say it.
    """

    task: str
    sample_ids: list[str]
    z: np.ndarray
    wordings: np.ndarray
    vision_dim: int | None


def read_features(path: Path) -> Features:
    """Read the feature rows of a task.

    Raises:
        InputError: no rows, rows of unequal length, or a value that is not finite.
    """
    table = artifacts.read_table("features", path)
    ids = table["sample_id"].to_pylist()
    z = table["z"].combine_chunks()
    lengths = set(z.value_lengths().to_pylist())
    if len(lengths) != 1:
        raise InputError(
            f"{path}: rows must have one common length, found {sorted(lengths, key=str) or 'none'}."
        )
    rows = np.array(z.flatten(), dtype=np.float32).reshape(len(ids), lengths.pop())
    if broken := [name for name, row in zip(ids, rows, strict=True) if not np.isfinite(row).all()]:
        raise InputError(f"{path}: sample {broken[0]!r} has a feature that is not finite.")
    worded = np.array([number or 0 for number in table["wording"].to_pylist()]) > 0
    asked = [name for name, other in zip(ids, worded, strict=True) if not other]
    vision_dim = artifacts.metadata(path).get("vision_dim")
    return Features(artifacts.task_of(path), asked, rows[~worded], rows[worded], vision_dim)

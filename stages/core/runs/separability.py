"""How far the tasks of finished runs can be told apart without learning, read from their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.base.reading import reading
from stages.core.evaluation.separability import by_neighbour, by_prototype, shared

if TYPE_CHECKING:
    import numpy as np

    from stages.core.runs.run_sheet import Run, RunSheet

HALVES = ("image", "text", "both")
RULES = {"prototype": by_prototype, "neighbour": by_neighbour}
IMAGES = 64  # read at a time

Shares = dict[str, dict[str, float]]


def has_features(run: Run) -> bool:
    """Whether the run routes by features."""
    return {"subset_features", "test_features"} <= run.artefacts.keys()


def feature_sets(sheet: RunSheet) -> dict[str, list[Run]]:
    """The runs that route by features, by the scope of these."""
    found: dict[str, list[Run]] = {}
    for run in filter(has_features, sheet.runs):
        file = run.file("subset_features", run.tasks[0])
        found.setdefault(sheet.scope_of(file), []).append(run)
    return found


def told_apart(run: Run) -> dict[str, Shares]:
    """By rule, half of the features and task: the share of test rows that the rule gives to their
    own task, knowing the rows of the subsets.

    Raises:
        InputError: a file that is missing, or features that do not say how wide their halves are.
    """
    known, asked = (_halves(run, name) for name in ("subset_features", "test_features"))
    return {
        name: {half: rule(known[half], asked[half]) for half in HALVES}
        for name, rule in RULES.items()
    }


def overlaps(train: Mapping[str, Path], test: Mapping[str, Path]) -> dict[str, Shares]:
    """By task, the share of its test prompts and images that each task trains on.

    Args:
        train: training rows by task.
        test: test rows by task.
    """
    return {
        "prompts": shared(
            {task: _prompts(file) for task, file in test.items()},
            {task: _prompts(file) for task, file in train.items()},
        ),
        "images": shared(
            {task: list(_images(file)) for task, file in test.items()},
            {task: set(_images(file)) for task, file in train.items()},
        ),
    }


def _halves(run: Run, artefact: str) -> dict[str, dict[str, np.ndarray]]:
    """Feature rows by half and task; in the subset as the rows ask, without other wordings."""
    from stages.core.dmole.routers import read_features

    found: dict[str, dict[str, np.ndarray]] = {half: {} for half in HALVES}
    for task in run.tasks:
        features = read_features(run.file(artefact, task))
        if features.vision_dim is None:
            raise InputError(
                f"{run.file(artefact, task)}: does not say how wide its halves are; make it again."
            )
        parts = (features.z[:, : features.vision_dim], features.z[:, features.vision_dim :])
        for half, rows in zip(HALVES, (*parts, features.z), strict=True):
            found[half][task] = rows
    return found


def _prompts(file: Path) -> list[str]:
    """What the rows of a task ask first, without case and marks."""
    from stages.core.backbone.features import plain

    turns = artifacts.read_table("data", file, ["turns"])["turns"].to_pylist()
    return [plain(own[0]["question"]) for own in turns]


def _images(file: Path) -> Iterator[str]:
    """What tells the images of a task's rows from others: a hash, or the path of a file."""
    import pyarrow.parquet as pq

    artifacts.task_record(file)  # rows of a task, or an error
    with reading(file, "Parquet"), pq.ParquetFile(file) as stored:
        for batch in stored.iter_batches(IMAGES, columns=["images"]):
            for image in batch["images"].flatten().to_pylist():
                yield _name(image)


def _name(image: Mapping[str, Any]) -> str:
    if image["bytes"] is None:
        return str(image["path"])
    return hashlib.sha256(image["bytes"]).hexdigest()


def most_shared(shares: Mapping[str, float], own: str) -> tuple[str, float] | None:
    """The other task that holds most of a task's prompts or images, and its share; None: none
    holds any."""
    others = {task: share for task, share in shares.items() if task != own and share}
    return max(others.items(), key=lambda item: item[1]) if others else None

"""Tasks with hand-made features and rows: test rows are the training rows, all images the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.core.base import artifacts
from tests.conftest import make_row

PLACES = {  # folder of an artefact; all sets of features are alike
    "train_rows": "data",
    "test_rows": "data",
    "subset_features": "features",
    "test_features": "features",
}


def write_features(folder: Path, task: str, rows: Sequence[Sequence[float]]) -> None:
    """A task's features, whose image half is one number wide."""
    features = [{"sample_id": str(i), "wording": 0, "z": row} for i, row in enumerate(rows)]
    file = folder / f"{task}.parquet"
    artifacts.write_table("features", file, features, vision_dim=1, task=task, provenance={})


def write_tasks(
    root: Path, rows: Mapping[str, Sequence[Sequence[float]]], asked: Mapping[str, Sequence[str]]
) -> None:
    """Features and questions by task; the images of all tasks are the same."""
    for task, features in rows.items():
        write_features(root / "features", task, features)
        data = [make_row(i, question, "a") for i, question in enumerate(asked[task])]
        file = root / f"data/{task}.parquet"
        artifacts.write_table("data", file, data, task={"name": task}, provenance={})

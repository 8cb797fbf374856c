"""Scores by test sample at the end of the stream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base.artifacts import read_table

if TYPE_CHECKING:
    import pandas as pd


def read_last_samples(path: Path, scores: list[dict]) -> dict[tuple[str, str], pd.DataFrame]:
    """By run and task, the score of every sample (rows) under every seed (columns), after the last
    step at which the run was measured on the task.

    Args:
        scores: rows of scores.parquet, which say what that step is.
    """
    import pandas as pd

    steps: dict[tuple[str, str], int] = {}
    for row in scores:
        key = row["method"], row["task"]
        steps[key] = max(row["step"], steps.get(key, 0))
    found = {}
    columns = ["seed", "sample_id", "score"]
    for (run, task), step in steps.items():
        wanted = [("run", "=", run), ("task", "=", task), ("step", "=", step)]
        rows = read_table("sample_scores", path, columns, wanted).to_pandas()
        found[run, task] = pd.pivot(rows, index="sample_id", columns="seed", values="score")
    return found

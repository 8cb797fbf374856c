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

    last: dict[tuple[str, str], int] = {}
    for row in scores:
        key = row["method"], row["task"]
        last[key] = max(row["step"], last.get(key, 0))
    columns, found = ["run", "task", "seed", "sample_id", "score"], {}
    for step in set(last.values()):  # one look at the file for each: it can be long
        runs = sorted({run for (run, _), own in last.items() if own == step})
        tasks = sorted({task for (_, task), own in last.items() if own == step})
        wanted = [("step", "=", step), ("run", "in", runs), ("task", "in", tasks)]
        rows = read_table("sample_scores", path, columns, wanted).to_pandas()
        for key, own in rows.groupby(["run", "task"]):
            if last.get(key) == step:
                found[key] = pd.pivot(own, index="sample_id", columns="seed", values="score")
    return found

"""Score every answer, fill each run's matrix A[t, i], and compute the continual-learning metrics.

Reads   the run sheet, and what it names: test rows, routes and predictions of every run
Writes  scores.parquet: one row per run, step and task with the score, its 95 % interval, and how
        many answers could not be read; sample_scores.parquet: the same sample by sample;
        metrics.json: matrices and metrics
Config  score

    python -m stages.score --runs results/pocket/runs.json --config workflow/config/pocket.yaml \\
        --out-scores scores.parquet --out-samples sample_scores.parquet --out-metrics metrics.json

Every variant of the metrics for a matrix of your own (first column: step 0 or "pretrained",
then 1..N or task names; header: task names; cells may be empty), as JSON on the terminal:

    python -m stages.score --matrix matrix.csv
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, config, provenance
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from stages.core.evaluation.scores import Row, Scorer
    from stages.core.runs.run_sheet import Run, RunSheet

Scored = dict[tuple[str, tuple[str, ...]], tuple[float, bool]]  # by sample and expert set


def score_answers(
    scorer: Scorer, known: Iterable[str], predictions: Iterable[Mapping[str, Any]]
) -> Scored:
    """Score and readability of each (sample, expert set).

    Raises:
        InputError: a prediction for no test row, or two for the same pair.
    """
    known, scored = set(known), {}
    for row in predictions:
        key = row["sample_id"], tuple(row["experts"])
        if row["sample_id"] not in known:
            raise InputError(f"prediction for {row['sample_id']!r}, which is no test row.")
        if key in scored:
            raise InputError(
                f"two predictions for sample {key[0]!r} with experts {row['experts']}."
            )
        scored[key] = scorer(row["sample_id"], row["text"])
    return scored


def score_steps(
    samples: Sequence[str], routes: Iterable[Mapping[str, Any]], scored: Scored
) -> dict[int, dict[str, tuple[float, bool, list[str]]]]:
    """Score, readability and experts of every sample of a task after each step with routes.

    Args:
        samples: ids of all test rows; each step must route each of them once.
        routes: rows (sample_id, step, experts).

    Raises:
        InputError: a routed (sample, expert set) without prediction; a step that lacks a sample
            or has one twice.
    """
    steps: dict[int, dict[str, tuple[float, bool, list[str]]]] = {}
    for row in routes:
        step, sample, experts = row["step"], row["sample_id"], row["experts"]
        if (sample, tuple(experts)) not in scored:
            raise InputError(
                f"sample {sample!r} after step {step} is routed to {experts}, for which "
                "there is no prediction; make the predictions again from these routes."
            )
        found = steps.setdefault(step, {})
        if sample in found:
            raise InputError(f"sample {sample!r} is routed twice after step {step}.")
        found[sample] = (*scored[sample, tuple(experts)], experts)
    for step, found in steps.items():
        for sample in samples:
            if sample not in found:
                raise InputError(f"sample {sample!r} has no route after step {step}.")
    return {step: {s: steps[step][s] for s in samples} for step in sorted(steps)}


class TaskScores:
    """Scores of all runs on one task."""

    def __init__(self, task: str, data: Path) -> None:
        """Read the test rows.

        Raises:
            InputError: rows of another task, or gold answers that the metric cannot take.
        """
        from stages.core.evaluation.scores import make_scorer, metric_label

        self.task, metric, self.gold = _gold(data, task)
        self.metric = metric_label(metric)
        try:
            self.scorer = make_scorer(metric, self.gold)
        except InputError as error:
            raise InputError(f"{data}: {error}") from None

    def steps(self, run: Run) -> dict[int, dict[str, tuple[float, bool, list[str]]]]:
        """Every sample's score after each step, as in :func:`score_steps`.

        Raises:
            InputError: files of another task, or answers that do not join.
        """
        routes, predictions = run.file("routes", self.task), run.file("predictions", self.task)
        for path in (routes, predictions):
            if (found := artifacts.task_of(path)) != self.task:
                raise InputError(f"{path}: of task {found!r}, expected {self.task!r}.")
        routed = artifacts.read_table("routes", routes, ["sample_id", "step", "experts"])
        answers = artifacts.read_table("predictions", predictions)
        try:
            scored = score_answers(self.scorer, self.gold, answers.to_pylist())
            return score_steps(list(self.gold), routed.to_pylist(), scored)
        except InputError as error:
            raise InputError(f"{routes}, {predictions}: {error}") from None


def _gold(path: Path, task: str) -> tuple[str, str | dict, dict[str, Row]]:
    """Task name, metric and the test rows by sample id."""
    from stages.core.evaluation.scores import columns

    found = artifacts.metadata(path)
    if found["schema"] != "data":
        raise InputError(f"{path}: expected test rows, found {found['schema']!r}.")
    if found["task"]["name"] != task:
        raise InputError(f"{path}: rows of task {found['task']['name']!r}, expected {task!r}.")
    metric = found["task"]["metric"]
    table = artifacts.read_table("data", path, columns(metric))
    return task, metric, {row["sample_id"]: row for row in table.to_pylist()}


def score_runs(sheet: RunSheet, *, resamples: int) -> Iterator[tuple[dict, list[dict]]]:
    """Of every run, task and step, in the order of runs, tasks and steps: the row of
    scores.parquet and those of sample_scores.parquet.

    Args:
        resamples: of the bootstrap interval, seeded with the run's seed.
    """
    from dataclasses import asdict

    import numpy as np

    from stages.core.evaluation.scores import summarise

    tasks = {task: TaskScores(task, sheet.runs[0].file("test_rows", task)) for task in sheet.tasks}
    for run in sheet.runs:
        for scores in tasks.values():
            for step, samples in scores.steps(run).items():
                values, parsed, experts = zip(*samples.values(), strict=True)
                mean = summarise(
                    np.array(values), np.array(parsed), resamples=resamples, seed=run.seed
                )
                place = {"seed": run.seed, "step": step, "task": scores.task}
                row = {"method": run.name, **place, "metric": scores.metric, **asdict(mean)}
                rows = zip(samples, values, parsed, experts, strict=True)
                yield (
                    row,
                    [
                        {
                            "run": run.name,
                            **place,
                            "sample_id": sample,
                            "score": value,
                            "parsed": read,
                            "experts": names,
                        }
                        for sample, value, read, names in rows
                    ],
                )


def write_scores(
    sheet: RunSheet, resamples: int, scores: Path, samples: Path, made_by: dict
) -> list[dict]:
    """Write both tables; returns the rows of scores.parquet."""
    import pyarrow as pa

    rows = []
    with artifacts.table_writer("sample_scores", samples, provenance=made_by) as writer:
        for row, part in score_runs(sheet, resamples=resamples):
            rows.append(row)
            writer.write_table(pa.Table.from_pylist(part, schema=artifacts.SAMPLE_SCORES))
        artifacts.write_table("scores", scores, rows, tasks=sheet.tasks, provenance=made_by)
    return rows


def show(report: Mapping[str, Any]) -> None:
    """Print one line per run: its final scores and its metrics (a dash where cells miss)."""
    from rich.console import Console
    from rich.table import Table

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    final, metrics = Table(title="After the last step"), Table(title="Continual metrics")
    for table, names in ((final, report["tasks"]), (metrics, report["definitions"])):
        table.add_column("run", no_wrap=True)
        for name in names:
            table.add_column(name, justify="right")
    for run in report["runs"]:
        label = f"{run['method']}, seed {run['seed']}"
        scores = dict(zip(run["tasks"], run["matrix"][-1], strict=True))
        final.add_row(label, *(cell(scores[task]) for task in report["tasks"]))
        values = (run["metrics"][key]["value"] for key in report["definitions"])
        metrics.add_row(label, *map(cell, values))
    console = Console()
    if not console.is_terminal:  # a log file has no edge to wrap at
        console = Console(width=200)
    console.print(final)
    console.print(metrics)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--matrix", type=Path, help="a CSV of scores; needs no other flag")
    parser.add_argument("--runs", type=Path, help="the run sheet")
    parser.add_argument("--config", help="a YAML config file, or the stage's slice as JSON text")
    parser.add_argument("--out-scores", type=Path)
    parser.add_argument("--out-samples", type=Path)
    parser.add_argument("--out-metrics", type=Path)
    args = parser.parse_args(argv)
    needed = ("runs", "config", "out_scores", "out_samples", "out_metrics")
    given = [name for name in needed if getattr(args, name) is not None]
    if args.matrix and given:
        parser.error("--matrix stands alone")
    if not args.matrix and len(given) < len(needed):
        lacking = [f"--{name.replace('_', '-')}" for name in needed if name not in given]
        parser.error(f"required: {', '.join(lacking)} (or --matrix alone)")
    return args


def _inputs(sheet: RunSheet) -> dict[str, Path]:
    """The files that the scores rest on, by artefact, scope and task."""
    return {
        "/".join(filter(None, (name, scope, task))): file
        for name in ("test_rows", "routes", "predictions")
        for scope, task, file in sheet.files(name)
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    from stages.core.evaluation.stream_metrics import continual_metrics, continual_report

    if args.matrix:
        from stages.core.evaluation.matrix import read_matrix

        print(json.dumps(continual_metrics(*read_matrix(args.matrix)), indent=2))
        return
    from stages.core.runs.run_sheet import RunSheet

    used = config.slice_config(config.from_argument(args.config), "score")
    sheet = RunSheet(args.runs)
    made_by = provenance.record("score", _inputs(sheet), used)
    resamples = used["score"]["bootstrap"]
    rows = write_scores(sheet, resamples, args.out_scores, args.out_samples, made_by)
    report = continual_report(rows, sheet.tasks, {run.name: run.tasks for run in sheet.runs})
    artifacts.write_json("metrics", args.out_metrics, {**report, "provenance": made_by})
    show(report)


if __name__ == "__main__":
    cli.run(main)

"""Score every answer, fill each run's matrix A[t, i], and compute the continual-learning metrics.

Reads   data/{task}/test.parquet, and routes/{task}.parquet and predictions/{task}.parquet of each
        run (method or variant, and seed)
Writes  scores.parquet: one row per run, step and task with the score, its 95 % interval, and
        how many answers could not be read; metrics.json: matrices and metrics
Config  score.bootstrap

A run that learnt the tasks in another order than ``--tasks`` has an ``--order`` of its own.

    python -m stages.score --data results/pocket/data/signs_ocr/test.parquet \\
        --run dmole 0 results/pocket/seed0/dmole/routes/signs_ocr.parquet \\
        results/pocket/seed0/dmole/predictions/signs_ocr.parquet --tasks signs_ocr \\
        --config workflow/config/pocket.yaml --out-scores scores.parquet --out-metrics metrics.json

Every variant of the metrics for a matrix of your own (first column: step 0 or "pretrained",
then 1..N or task names; header: task names; cells may be empty), as JSON on the terminal:

    python -m stages.score --matrix matrix.csv
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.core.base import artifacts, cli, config, provenance
from stages.core.base.errors import InputError, unknown

if TYPE_CHECKING:
    from stages.core.evaluation.scores import Row, Score, Scorer

KEYS = ("score.bootstrap",)
GOLD = ["sample_id", "references", "choices", "box"]  # images stay on disk


class Run(NamedTuple):
    """The routed answers of one method (or variant) and seed to one task's test rows."""

    method: str
    seed: int
    routes: Path
    predictions: Path


def score_steps(
    scorer: Scorer,
    samples: Sequence[str],
    routes: Iterable[Mapping[str, Any]],
    predictions: Iterable[Mapping[str, Any]],
    *,
    resamples: int,
    seed: int,
) -> dict[int, Score]:
    """The score of one task after each step that the routes cover.

    Args:
        scorer: gives a sample's answer its score; called once per distinct answer.
        samples: ids of all test rows; each step must route each of them once.
        routes: rows (sample_id, step, experts).
        predictions: rows (sample_id, experts, text).
        resamples: of the bootstrap interval.
        seed: of the bootstrap.

    Raises:
        InputError: a routed (sample, expert set) without prediction, or two of them; a step
            that lacks a sample, has one twice, or has one that is no test row.
    """
    import numpy as np

    from stages.core.evaluation.scores import summarise

    place = {sample: i for i, sample in enumerate(samples)}
    scored = _score_answers(scorer, place, predictions)
    steps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for row in routes:
        step, sample = row["step"], row["sample_id"]
        if (sample, tuple(row["experts"])) not in scored:
            raise InputError(
                f"sample {sample!r} after step {step} is routed to {row['experts']}, for which "
                "there is no prediction; make the predictions again from these routes."
            )
        if step not in steps:
            steps[step] = np.full(len(samples), np.nan), np.zeros(len(samples), bool)
        values, parsed = steps[step]
        if not np.isnan(values[place[sample]]):
            raise InputError(f"sample {sample!r} is routed twice after step {step}.")
        values[place[sample]], parsed[place[sample]] = scored[sample, tuple(row["experts"])]
    for step, (values, _) in steps.items():
        if np.isnan(values).any():
            lacking = samples[int(np.isnan(values).argmax())]
            raise InputError(f"sample {lacking!r} has no route after step {step}.")
    return {step: summarise(*steps[step], resamples=resamples, seed=seed) for step in sorted(steps)}


def _score_answers(
    scorer: Scorer, known: Mapping[str, int], predictions: Iterable[Mapping[str, Any]]
) -> dict[tuple[str, tuple[str, ...]], tuple[float, bool]]:
    """Score and readability of each (sample, expert set)."""
    scored: dict[tuple[str, tuple[str, ...]], tuple[float, bool]] = {}
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


def _gold(path: Path, tasks: Sequence[str]) -> tuple[str, str, dict[str, Row]]:
    """Task name, metric and the test rows by sample id."""
    found = artifacts.metadata(path)
    if found["schema"] != "data":
        raise InputError(f"{path}: expected test rows, found {found['schema']!r}.")
    task = found["task"]
    if task["name"] not in tasks:
        raise unknown("task", task["name"], tasks, str(path))
    rows = {row["sample_id"]: row for row in artifacts.read_table("data", path, GOLD).to_pylist()}
    return task["name"], task["metric"], rows


def _read_answers(run: Run) -> tuple[list[dict], list[dict]]:
    routes = artifacts.read_table("routes", run.routes).select(["sample_id", "step", "experts"])
    return routes.to_pylist(), artifacts.read_table("predictions", run.predictions).to_pylist()


def score_runs(
    data: Sequence[Path], runs: Sequence[Run], tasks: Sequence[str], *, resamples: int
) -> list[dict[str, Any]]:
    """Rows of scores.parquet: runs in the given order, then tasks and steps in stream order.

    Raises:
        InputError: files of different tasks, missing test rows, or answers that do not join.
    """
    from dataclasses import asdict

    from stages.core.evaluation.scores import make_scorer

    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        found = artifacts.task_of(run.routes), artifacts.task_of(run.predictions)
        if found[0] != found[1]:
            raise InputError(
                f"{run.routes} is of task {found[0]}, {run.predictions} of {found[1]}."
            )
        by_task[found[0]].append(run)
    rows = []
    for path in data:
        task, metric, gold = _gold(path, tasks)
        try:
            scorer = make_scorer(metric, gold)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        for run in by_task.pop(task, []):
            try:
                steps = score_steps(
                    scorer, list(gold), *_read_answers(run), resamples=resamples, seed=run.seed
                )
            except InputError as error:
                raise InputError(f"{run.routes}, {run.predictions}: {error}") from None
            labels = {"method": run.method, "seed": run.seed, "task": task, "metric": metric}
            rows += [{**labels, "step": t, **asdict(score)} for t, score in steps.items()]
    if by_task:
        raise unknown("task", min(by_task), tasks, "no test rows (--data) given for --run")
    order = list(dict.fromkeys((run.method, run.seed) for run in runs))
    return sorted(
        rows,
        key=lambda r: (order.index((r["method"], r["seed"])), tasks.index(r["task"]), r["step"]),
    )


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
    parser.add_argument("--data", type=Path, nargs="+", help="test rows, one file per task")
    parser.add_argument(
        "--run",
        nargs=4,
        action="append",
        metavar=("METHOD", "SEED", "ROUTES", "PREDICTIONS"),
        help="the routed answers of a run to one task; repeat for every run and task",
    )
    parser.add_argument("--tasks", nargs="+", help="all tasks in stream order")
    parser.add_argument(
        "--order",
        nargs="+",
        action="append",
        default=[],
        metavar=("METHOD", "TASK"),
        help="a method whose runs learnt the tasks in this other order; repeat",
    )
    parser.add_argument("--config", help="a YAML config file, or the stage's slice as JSON text")
    parser.add_argument("--out-scores", type=Path)
    parser.add_argument("--out-metrics", type=Path)
    args = parser.parse_args(argv)
    needed = ("data", "run", "tasks", "config", "out_scores", "out_metrics")
    given = [name for name in needed if getattr(args, name) is not None]
    if args.matrix and given:
        parser.error("--matrix stands alone")
    if not args.matrix and len(given) < len(needed):
        lacking = [f"--{name.replace('_', '-')}" for name in needed if name not in given]
        parser.error(f"required: {', '.join(lacking)} (or --matrix alone)")
    return args


def _runs(flags: Sequence[Sequence[str]]) -> list[Run]:
    for _, seed, *_ in flags:
        if not seed.isdecimal():
            raise InputError(f"--run: seed {seed!r} is not a whole number.")
    return [Run(m, int(s), Path(routes), Path(answers)) for m, s, routes, answers in flags]


def _orders(flags: Sequence[Sequence[str]], tasks: Sequence[str]) -> dict[str, list[str]]:
    """Tasks in their order by method.

    Raises:
        InputError: an order that is none of the stream's tasks.
    """
    for method, *order in flags:
        if sorted(order) != sorted(tasks):
            raise InputError(f"--order {method}: {order} is not an order of {list(tasks)}.")
    return {method: order for method, *order in flags}


def main(argv: Sequence[str] | None = None) -> None:
    args = _parse(argv)
    if args.matrix:
        from stages.core.evaluation.matrix import read_matrix
        from stages.core.evaluation.stream_metrics import continual_metrics

        print(json.dumps(continual_metrics(*read_matrix(args.matrix)), indent=2))
        return
    used = config.slice_config(config.from_argument(args.config), *KEYS)
    runs = _runs(args.run)
    rows = score_runs(args.data, runs, args.tasks, resamples=used["score"]["bootstrap"])
    from stages.core.evaluation.stream_metrics import continual_report

    report = continual_report(rows, args.tasks, _orders(args.order, args.tasks))
    inputs = {f"data/{artifacts.task_of(path)['name']}": path for path in args.data}
    for run in runs:
        scope = f"seed{run.seed}/{run.method}"
        inputs[f"{scope}/routes/{artifacts.task_of(run.routes)}"] = run.routes
        inputs[f"{scope}/predictions/{artifacts.task_of(run.predictions)}"] = run.predictions
    made_by = provenance.record("score", inputs, used)
    artifacts.write_table("scores", args.out_scores, rows, tasks=args.tasks, provenance=made_by)
    artifacts.write_json("metrics", args.out_metrics, {**report, "provenance": made_by})
    show(report)


if __name__ == "__main__":
    cli.run(main)

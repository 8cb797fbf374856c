"""Continual-learning metrics of a score matrix A[t, i]: task i = 1..N after step t = 0..N.

Step 0 is the pretrained backbone. Papers use one name for different formulas and different
names for one formula, so each variant has a key of its own; :data:`FORMULAS` holds them as
written, with the papers that report them. A metric that reads a cell which was not measured is
missing: it has no value and names the cells.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from stages.core.base.errors import InputError
from stages.core.evaluation.matrix import matrix_from_cells

Cell = Callable[[int, int], float]  # (step t, task i) -> A[t, i]


@dataclass(frozen=True)
class Formula:
    """One metric: the sum of its terms over ``count(N)``.

    ``term(a, k, n)`` is the k-th term, for k in ``span(n)``. k is a task, save where ``by`` says
    that the terms belong to steps.
    """

    text: str
    used_by: str
    span: Callable[[int], range]
    term: Callable[[Cell, int, int], float]
    count: Callable[[int], int]
    by: str = "task"


def _every(n: int) -> range:
    return range(1, n + 1)


def _but_last(n: int) -> range:
    return range(1, n)


def _but_first(n: int) -> range:
    return range(2, n + 1)


def _n(n: int) -> int:
    return n


def _n_minus_1(n: int) -> int:
    return n - 1


FORMULAS: dict[str, Formula] = {
    "avg": Formula(
        "mean over tasks and steps 1..N, steps before the task's own included",
        "D-MoLE (AVG)",
        _every,
        lambda a, i, n: fmean(a(t, i) for t in range(1, n + 1)),
        _n,
    ),
    "last": Formula(
        "mean over tasks of A[N,i]",
        "D-MoLE (Last), MCITlib (MFN), BranchLoRA (ACC)",
        _every,
        lambda a, i, n: a(n, i),
        _n,
    ),
    "bwt_dmole": Formula(
        "mean over tasks i < N of the mean over steps t > i of A[t,i] - A[i,i]",
        "D-MoLE (BWT)",
        _but_last,
        lambda a, i, n: fmean(a(t, i) - a(i, i) for t in range(i + 1, n + 1)),
        _n_minus_1,
    ),
    "bwt": Formula(
        "sum over tasks i < N of A[N,i] - A[i,i], over N - 1",
        "MCITlib, EasyCL, phi-DPO (BWT)",
        _but_last,
        lambda a, i, n: a(n, i) - a(i, i),
        _n_minus_1,
    ),
    "bwt_n": Formula(
        "sum over tasks i < N of A[N,i] - A[i,i], over N",
        "CoIN, BranchLoRA (BWT)",
        _but_last,
        lambda a, i, n: a(n, i) - a(i, i),
        _n,
    ),
    "mft": Formula(
        "mean over tasks of A[i,i]",
        "MCITlib, SEFE (MFT)",
        _every,
        lambda a, i, n: a(i, i),
        _n,
    ),
    "maa": Formula(
        "mean over steps t of the mean over tasks i <= t of A[t,i]",
        "CoIN, BranchLoRA, MCITlib (MAA)",
        _every,
        lambda a, t, n: fmean(a(t, i) for i in range(1, t + 1)),
        _n,
        by="step",
    ),
    "fwt": Formula(
        "mean over tasks i >= 2 of A[i-1,i] - A[0,i]",
        "EasyCL (FWT)",
        _but_first,
        lambda a, i, n: a(i - 1, i) - a(0, i),
        _n_minus_1,
    ),
    "forgetting": Formula(
        "mean over tasks i < N of the best A[t,i] with i <= t < N, minus A[N,i]",
        "SAPT (forgetting)",
        _but_last,
        lambda a, i, n: max(a(t, i) for t in range(i, n)) - a(n, i),
        _n_minus_1,
    ),
}


class _Reader:
    """Looks cells up by step and task number and remembers those that were not measured."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.missing: set[tuple[int, int]] = set()

    def __call__(self, step: int, task: int) -> float:
        value = float(self.matrix[step, task - 1])
        if np.isnan(value):
            self.missing.add((step, task))
        return value


def _evaluate(formula: Formula, matrix: np.ndarray, tasks: Sequence[str]) -> dict:
    n = len(tasks)
    terms: dict[int, float | None] = {}
    missing: set[tuple[int, int]] = set()
    for k in formula.span(n):
        read = _Reader(matrix)
        value = formula.term(read, k, n)
        terms[k] = None if read.missing else value
        missing |= read.missing
    complete = bool(terms) and not missing
    names = {k: tasks[k - 1] if formula.by == "task" else str(k) for k in terms}
    return {
        "value": sum(filter(None, terms.values())) / formula.count(n) if complete else None,
        f"per_{formula.by}": {names[k]: value for k, value in terms.items()},
        "missing": [{"step": t, "task": tasks[i - 1]} for t, i in sorted(missing)],
    }


def continual_metrics(matrix: np.ndarray, tasks: Sequence[str]) -> dict[str, dict]:
    """Every metric of :data:`FORMULAS`, in the unit of the matrix.

    ``matrix`` has shape (N + 1, N): row t after step t, row 0 before any training, NaN where
    nothing was measured. For each key the result has ``value``, ``per_task`` (``per_step`` for
    ``maa``) and ``missing``, the cells (step, task) that the formula needs and did not find.
    A value is None when cells are missing, and when there is only one task and the formula
    compares several. Raises :class:`InputError` on another shape or infinite cells.
    """
    n = len(tasks)
    if n == 0 or matrix.shape != (n + 1, n):
        raise InputError(
            f"score matrix of shape {matrix.shape} for {n} tasks: it needs one column per task "
            "and one row per step, the pretrained row included (empty cells as NaN)."
        )
    if np.isinf(matrix).any():
        raise InputError("score matrix: infinite cells; a cell that was not measured is NaN.")
    return {key: _evaluate(formula, matrix, tasks) for key, formula in FORMULAS.items()}


def over_seeds(metrics: Sequence[dict[str, dict]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation of each metric over the results of several seeds.

    A metric that any seed lacks has neither; one seed has no deviation.
    """
    summary: dict[str, dict[str, float | None]] = {}
    for key in metrics[0]:
        values = [of_seed[key]["value"] for of_seed in metrics]
        complete = None not in values
        summary[key] = {
            "mean": fmean(values) if complete else None,
            "std": stdev(values) if complete and len(values) > 1 else None,
        }
    return summary


def continual_report(
    scores: Sequence[Mapping[str, Any]],
    tasks: Sequence[str],
    orders: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Matrices, metrics and their means over seeds: ``metrics.json`` without provenance.

    Args:
        scores: rows of scores.parquet.
        tasks: the stream.
        orders: the tasks in the order of a run, by method, where it is not that of ``tasks``.
    """
    cells: dict[tuple[str, int], list] = defaultdict(list)
    for row in scores:
        cells[row["method"], row["seed"]].append((row["step"], row["task"], row["value"]))
    runs = []
    for (method, seed), triples in cells.items():
        order = list((orders or {}).get(method, tasks))
        matrix = matrix_from_cells(triples, order)
        rows = [[None if cell != cell else cell for cell in row] for row in matrix.tolist()]
        run: dict[str, Any] = {"method": method, "seed": seed, "tasks": order, "matrix": rows}
        runs.append(run | {"metrics": continual_metrics(matrix, order)})
    return {
        "tasks": list(tasks),
        "definitions": {
            key: {"formula": formula.text, "used_by": formula.used_by}
            for key, formula in FORMULAS.items()
        },
        "runs": runs,
        "summary": [
            {
                "method": method,
                "seeds": [run["seed"] for run in runs if run["method"] == method],
                "metrics": over_seeds([r["metrics"] for r in runs if r["method"] == method]),
            }
            for method in dict.fromkeys(run["method"] for run in runs)
        ],
    }

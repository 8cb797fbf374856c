"""Score matrices A[t, i], task i = 1..N after step t = 0..N, from scores or from a CSV file."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stages.core.base.errors import InputError, unknown


def matrix_from_cells(cells: Iterable[tuple[int, str, float]], tasks: Sequence[str]) -> np.ndarray:
    """The (N + 1, N) matrix of (step, task, score) triples; cells not given are NaN.

    Raises :class:`InputError` for a step outside 0..N, a task not in ``tasks``, or a cell
    given twice.
    """
    n = len(tasks)
    column = {task: i for i, task in enumerate(tasks)}
    matrix = np.full((n + 1, n), np.nan)
    for step, task, score in cells:
        if task not in column or not 0 <= step <= n:
            raise InputError(
                f"score of task {task!r} after step {step}: the stream has steps 0 to {n} "
                f"and tasks {', '.join(tasks)}."
            )
        if not np.isnan(matrix[step, column[task]]):
            raise InputError(f"score of task {task!r} after step {step} is given twice.")
        matrix[step, column[task]] = score
    return matrix


def read_matrix(path: Path) -> tuple[np.ndarray, list[str]]:
    """A score matrix from CSV: (N + 1, N), NaN where a cell is empty, and the task names.

    The header names the tasks in order after one heading for the row labels. A row is labelled
    with its step: 0 or ``pretrained`` before any training, 1..N or the name of the task just
    trained. Rows may be absent (the pretrained one often is) and cells empty.

    Raises:
        InputError: what cannot be read, with line and column.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = [(n, line) for n, line in enumerate(csv.reader(file), 1) if any(line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from None
    tasks = [name.strip() for name in lines[0][1][1:]] if lines else []
    if not tasks or not all(tasks) or len(set(tasks)) < len(tasks):
        raise InputError(
            f"{path}: the header must be a heading for the steps, then one name for each task, "
            f"all different; found {lines[0][1] if lines else 'an empty file'}."
        )
    matrix = np.full((len(tasks) + 1, len(tasks)), np.nan)
    first_line: dict[int, int] = {}
    for number, (label, *cells) in lines[1:]:
        where = f"{path}: line {number}"
        step = _step_of(label.strip(), tasks, where)
        if step in first_line:
            raise InputError(f"{where}: step {step} was given in line {first_line[step]}.")
        first_line[step] = number
        matrix[step] = _numbers(cells, tasks, where)
    if not first_line:
        raise InputError(f"{path}: no rows of scores below the header.")
    return matrix, tasks


def _step_of(label: str, tasks: list[str], where: str) -> int:
    steps = {"pretrained": 0, **{task: t for t, task in enumerate(tasks, start=1)}}
    if label.isdecimal() and int(label) <= len(tasks):
        return int(label)
    if label not in steps:
        numbers = [str(t) for t in range(len(tasks) + 1)]
        raise unknown("step", label, [*numbers, *steps], where)
    return steps[label]


def _numbers(cells: list[str], tasks: list[str], where: str) -> list[float]:
    if len(cells) != len(tasks):
        raise InputError(
            f"{where}: {len(cells)} scores for {len(tasks)} tasks; leave cells that were not "
            "measured empty, but keep their commas."
        )
    values = []
    for task, cell in zip(tasks, cells, strict=True):
        try:
            value = float(cell) if cell.strip() else np.nan
        except ValueError:
            value = np.inf
        if np.isinf(value) or (cell.strip() and np.isnan(value)):
            raise InputError(
                f"{where}, column {task!r}: {cell!r} is not a number; an empty cell means "
                "not measured."
            )
        values.append(value)
    return values

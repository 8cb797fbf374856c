"""Section: the score matrix of each method as a coloured table, and unparsed answers."""

from collections import defaultdict
from statistics import fmean

import numpy as np

from stages.core.report.page import Cell, Fold, Note, Picture, ScoreScale, Section, Table
from stages.core.report.ranking import ranked
from stages.core.report.style import level_of
from stages.core.report.svg import WIDTH, Canvas, shortened
from stages.core.runs.results import Results

Cells = dict[tuple[int, str], list[dict]]


def _by_cell(results: Results) -> dict[str, Cells]:
    """Score rows by method and by (step, task), in seed order."""
    found: dict[str, Cells] = {name: defaultdict(list) for name in results.methods}
    for row in sorted(results.scores, key=lambda row: row["seed"]):
        found[row["method"]][row["step"], row["task"]].append(row)
    return found


def _tip(step: int, task: str, rows: list[dict]) -> str:
    lines = [f"{task} after step {step}" + ("" if len(rows) == 1 else f", {len(rows)} seeds")]
    lines += [
        f"seed {row['seed']}: {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}), "
        f"n {row['n']}" + (f", unparsed {row['n_unparsed']}" if row["n_unparsed"] else "")
        for row in rows
    ]
    return "\n".join(lines)


def _cell(step: int, number: int, task: str, rows: list[dict]) -> Cell:
    """One cell of the matrix; ``number`` is the task's place in the stream, from 1."""
    state = "own" if step == number else "unseen" if step < number else "seen"
    if not rows:
        return Cell("–", f"{task} after step {step}: not measured", marks=f"{state} empty")
    value = fmean(row["value"] for row in rows)
    return Cell(f"{value:.1f}", _tip(step, task, rows), f"{state} b{level_of(value / 100)}")


def _matrix(results: Results, method: str, cells: Cells, metric: dict[str, str]) -> Table:
    tasks = results.order(method)
    head = ["After step", *(f"{results.task(task)}\n{metric.get(task, '')}" for task in tasks)]
    rows: list[list[Cell | str]] = []
    for step in range(len(tasks) + 1):
        label = f"{step} · " + (results.task(tasks[step - 1]) if step else "pretrained backbone")
        row = [_cell(step, i, task, cells[step, task]) for i, task in enumerate(tasks, 1)]
        rows.append([label, *row])
    return Table(head, rows, "", name=f"matrix:{method}")


def draw(matrices: dict[str, np.ndarray]) -> Canvas:
    """Small matrices side by side: rows are steps from 0, columns tasks, frames the own step."""
    steps, tasks = next(iter(matrices.values())).shape
    size = max(4.0, min(24.0, 108 / tasks))
    across, down = max(tasks * size, 96) + 26, steps * size + 36
    columns = min(len(matrices), int((WIDTH + 26) // across))
    canvas = Canvas(columns * across - 26, -(-len(matrices) // columns) * down)
    for k, (name, values) in enumerate(matrices.items()):
        x, y = k % columns * across, k // columns * down + 22
        canvas.text(x, y - 11, shortened(name, int((across - 8) / 7)), "", tip=name)
        canvas.cells(values, x, y, (size, size), 100)
        for i in range(tasks):
            canvas.frame(x + i * size, y + (i + 1) * size, size - 1, size - 1, "thin")
    return canvas


def _values(cells: Cells, tasks: list[str]) -> np.ndarray:
    """Means over seeds ``(steps, tasks)``; NaN where nothing was measured."""
    found = np.full((len(tasks) + 1, len(tasks)), np.nan)
    for step in range(len(tasks) + 1):
        for i, task in enumerate(tasks):
            if rows := cells[step, task]:
                found[step, i] = fmean(row["value"] for row in rows)
    return found


def section(results: Results) -> Section:
    """All matrices at a glance, and each as a table on demand."""
    cells = _by_cell(results)
    metric = {row["task"]: row["metric"] for row in results.scores}
    order = [entry["name"] for entry in ranked(results.comparison["methods"])]
    small = {results.label(m): _values(cells[m], results.order(m)) for m in order}
    overview = Picture(
        draw(small),
        "One matrix a method, by score at the end. From top to bottom: the pretrained backbone, "
        "then after each step; from left to right: the tasks in stream order. Framed: the step at "
        "which the task was trained. Grey: not measured.",
        "Score matrix of every method",
        name="matrices",
    )
    many = "Means over seeds. " if len(results.seeds) > 1 else ""
    notes = Note(
        f"{many}Framed: the step at which the task was trained; hatched: steps before it. Hover "
        "over a cell for each seed's score with its interval (bootstrap over test samples), the "
        "number of samples and of answers that could not be read."
    )
    numbers = [Fold(results.label(m), [_matrix(results, m, cells[m], metric)]) for m in order]
    return Section(
        "matrices",
        "Score matrices",
        "Read down a column to see a task before it is trained, when it is trained (framed) and "
        "how much of it is kept afterwards.",
        [
            ScoreScale(),
            overview,
            Fold("The numbers", [notes, *numbers]),
        ],
    )


def unparsed_section(results: Results) -> Section:
    """Answers from which no option or box could be read, at the last step measured."""
    rows: list[list[Cell | str]] = []
    for method, cells in _by_cell(results).items():
        row: list[Cell | str] = [results.label(method)]
        for task in results.tasks:
            steps = [step for step, name in cells if name == task and cells[step, name]]
            found = cells[max(steps), task] if steps else []
            wrong, n = sum(r["n_unparsed"] for r in found), sum(r["n"] for r in found)
            tip = f"after step {max(steps)}, all seeds together" if steps else "not measured"
            row.append(Cell(f"{wrong} / {n}" if found else "–", tip, marks="zero" * (not wrong)))
        rows.append(row)
    table = Table(
        ["Method", *map(results.task, results.tasks)],
        rows,
        "Unparsed answers / test samples, at the last step at which the method was measured on "
        "the task, all seeds together. Only choice and grounding tasks can have unparsed answers.",
        name="unparsed",
    )
    total = sum(row["n_unparsed"] for row in results.scores)
    answers = sum(row["n"] for row in results.scores)
    note = Note(f"Over all methods, seeds, steps and tasks: {total} of {answers} answers.")
    lead = "Answers that hold no readable option letter or box count as wrong."
    return Section(
        "unparsed", "Unparsed answers", lead, [note, Fold("By method and task", [table])]
    )

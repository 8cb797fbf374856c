"""Section: the score matrix of each method as a coloured table, and unparsed answers."""

from collections import defaultdict
from statistics import fmean

from stages.core.report.page import Cell, Note, ScoreScale, Section, Table
from stages.core.report.style import colour_of
from stages.core.runs.results import Results


def _by_cell(results: Results, method: str) -> dict[tuple[int, str], list[dict]]:
    """Score rows of a method by (step, task), in seed order."""
    cells: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for row in sorted(results.scores, key=lambda row: row["seed"]):
        if row["method"] == method:
            cells[row["step"], row["task"]].append(row)
    return cells


def _tip(step: int, task: str, rows: list[dict]) -> str:
    lines = [f"{task} after step {step}" + ("" if len(rows) == 1 else f", {len(rows)} seeds")]
    lines += [
        f"seed {row['seed']}: {row['value']:.2f}, 95% interval {row['low']:.2f} to "
        f"{row['high']:.2f}, n = {row['n']}, unparsed {row['n_unparsed']}"
        for row in rows
    ]
    return "\n".join(lines)


def _cell(step: int, number: int, task: str, rows: list[dict]) -> Cell:
    """One cell of the matrix; ``number`` is the task's place in the stream, from 1."""
    state = "own" if step == number else "unseen" if step < number else "seen"
    if not rows:
        return Cell("–", f"{task} after step {step}: not measured", marks=f"{state} empty")
    value = fmean(row["value"] for row in rows)
    background, ink = colour_of(value)
    return Cell(f"{value:.1f}", _tip(step, task, rows), background, ink, state)


def _matrix(results: Results, method: str) -> Table:
    cells = _by_cell(results, method)
    metric = {row["task"]: row["metric"] for row in results.scores}
    tasks = results.order(method)
    head = ["After step", *(f"{task}\n{metric.get(task, '')}" for task in tasks)]
    rows: list[list[Cell | str]] = []
    for step in range(len(tasks) + 1):
        label = f"{step} · " + (tasks[step - 1] if step else "pretrained backbone")
        row = [_cell(step, i, task, cells[step, task]) for i, task in enumerate(tasks, 1)]
        rows.append([label, *row])
    seeds = len({row["seed"] for found in cells.values() for row in found})
    what = "mean over " + f"{seeds} seeds" if seeds > 1 else "one seed"
    return Table(
        head,
        rows,
        f"{method}: score on each task (column) after each step (row), {what}. Framed: the step "
        "at which the task was trained. Hatched: steps before it. Hover over a cell for its "
        "interval (bootstrap over test samples) and sample count.",
        title=method,
        name=f"matrix:{method}",
    )


def section(results: Results) -> Section:
    """One table per method on a common colour scale."""
    scale = ScoreScale([colour_of(value)[0] for value in range(0, 101, 10)])
    return Section(
        "matrices",
        "Score matrices",
        "Read down a column to see a task before it is trained, when it is trained (framed) and "
        "how much of it is kept afterwards.",
        [scale, *(_matrix(results, method) for method in results.methods)],
    )


def unparsed_section(results: Results) -> Section:
    """Answers from which no option or box could be read, at the last step measured."""
    rows: list[list[Cell | str]] = []
    for method in results.methods:
        cells = _by_cell(results, method)
        row: list[Cell | str] = [method]
        for task in results.tasks:
            steps = [step for step, name in cells if name == task and cells[step, name]]
            found = cells[max(steps), task] if steps else []
            wrong, n = sum(r["n_unparsed"] for r in found), sum(r["n"] for r in found)
            tip = f"after step {max(steps)}, all seeds together" if steps else "not measured"
            row.append(Cell(f"{wrong} / {n}" if found else "–", tip, marks="zero" * (not wrong)))
        rows.append(row)
    table = Table(
        ["Method", *results.tasks],
        rows,
        "Unparsed answers / test samples, at the last step at which the method was measured on "
        "the task, all seeds together. Only choice and grounding tasks can have unparsed answers.",
        name="unparsed",
    )
    total = sum(row["n_unparsed"] for row in results.scores)
    answers = sum(row["n"] for row in results.scores)
    note = Note(f"Over all methods, seeds, steps and tasks: {total} of {answers} answers.")
    lead = "Answers that hold no readable option letter or box count as wrong."
    return Section("unparsed", "Unparsed answers", lead, [table, note])

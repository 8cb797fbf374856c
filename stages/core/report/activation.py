"""Section: how often each expert is active, per step and task (paper, Fig. 7)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.core.evaluation.routing_quality import Routed
from stages.core.report.page import Block, Picture, Section, folded
from stages.core.report.style import level_of
from stages.core.report.svg import WIDTH, Canvas, colour_bar, shortened, width_of
from stages.core.runs.results import Results


def frequencies(runs: list[dict[str, Routed]], tasks: list[str], step: int) -> np.ndarray:
    """Share of samples for which each expert is active at ``step``, mean over runs (seeds).

    Shape (tasks, tasks + 1): rows are the samples' tasks, columns the experts in stream order and
    then the share answered by the backbone alone. NaN where nothing was routed and for experts
    that do not exist yet.
    """
    shares = np.full((len(runs), len(tasks), len(tasks) + 1), np.nan)
    for r, run in enumerate(runs):
        for i, task in enumerate(tasks):
            if task not in run or not (here := run[task].step == step).any():
                continue
            shares[r, i, :step] = [
                run[task].active.get((step, expert), 0) / here.sum() for expert in tasks[:step]
            ]
            shares[r, i, -1] = run[task].rejected[here].mean()
    measured = ~np.isnan(shares)
    total = np.where(measured, shares, 0).sum(axis=0)
    return np.where(measured.any(axis=0), total / np.maximum(measured.sum(axis=0), 1), np.nan)


def _panel(
    canvas: Canvas,
    values: np.ndarray,
    step: int,
    corner: tuple[float, float],
    cell: tuple[float, float],
) -> None:
    """Experts without the backbone's share, then this share behind a gap."""
    (x, y), (w, h), n = corner, cell, len(values)
    canvas.cells(values[:, :-1], x, y, cell)
    canvas.cells(values[:, -1:], x + n * w + 4, y, cell)
    if step < n:
        canvas.frame(x - 1, y + step * h - 1, (n + 1) * w + 5, (n - step) * h + 1, "soft dashed")
    for j in range(n + 1):
        place = x + j * w + w / 2 + 4 * (j == n)
        canvas.text(place, y + n * h + 9, "–" if j == n else str(j + 1), "small", "middle")
    if n <= 6:
        for (i, j), value in np.ndenumerate(values):
            if value >= 0.005:
                place = x + j * w + w / 2 + 4 * (j == n)
                ink = f"tiny i{level_of(value)}"
                canvas.text(place, y + i * h + h / 2 - 1, f"{100 * value:.0f}", ink, "middle")


def draw(
    runs: list[dict[str, Routed]], tasks: list[str], label: Callable[[str], str] = str
) -> Canvas:
    """One panel per step, tasks x experts."""
    n, names = len(tasks), [shortened(label(task)) for task in tasks]
    cell = (26.0, 18.0) if n <= 6 else (13.0, 14.0)
    left = 24 + max(map(width_of, names))
    across, down = (n + 1) * cell[0] + 22, n * cell[1] + 46
    columns = max(1, min(n, int((WIDTH - left) // across)))
    canvas = Canvas(max(left + columns * across, 420), -(-n // columns) * down + 22)
    for k in range(n):
        x, y = left + k % columns * across, 26 + k // columns * down
        _panel(canvas, frequencies(runs, tasks, k + 1), k + 1, (x, y), cell)
        title = shortened(f"{k + 1} · {names[k]}", max(8, int(across / 8)))
        canvas.text(x, y - 11, title, "bold", tip=tasks[k])
        for i, name in enumerate(names if not k % columns else ()):
            canvas.text(x - 8, y + (i + 0.5) * cell[1], f"{name}  {i + 1}", "", "end", tasks[i])
    colour_bar(canvas, left, canvas.height - 14, "all samples of the task")
    return canvas


def section(results: Results) -> Section:
    """Activation frequencies of every method with routers, mean over its seeds."""
    title = "Expert activation"
    if not results.routes:
        return Section("activation", title, "Absent: no routes of a method with routers.")
    pictures: list[Block] = []
    for method in dict.fromkeys(method for method, _ in results.routes):
        runs = [run for (name, _), run in results.routes.items() if name == method]
        over = f"Mean over {len(runs)} seeds." if len(runs) > 1 else ""
        pictures.append(
            Picture(
                draw(runs, results.order(method), results.task),
                over,
                f"Expert activation frequencies of {method} per step",
                results.label(method),
                name="" if pictures else "activation",
            )
        )
    lead = (
        "Share of each task's test samples (row) for which the expert of a task (column, by number)"
        " is active after each step; the last column, –: the backbone alone answers. "
        "Cells that stand out on the diagonal: samples find the expert of their own task. Two "
        "experts can be active at once. Grey: the expert does not exist yet. Dashed frame: tasks "
        "not trained yet, for which the last column should stand out."
    )
    return Section("activation", title, lead, folded(pictures, "The other methods"))

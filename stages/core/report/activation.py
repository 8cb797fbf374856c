"""Section: how often each expert is active, per step and task (paper, Fig. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.evaluation.routing_quality import Routed
from stages.core.report.page import Block, Picture, Section
from stages.core.report.style import SCALE, as_svg, new_figure, plain_frame
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure


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


def _panel(axes: Axes, values: np.ndarray, step: int, tasks: list[str]) -> QuadMesh:
    from matplotlib.patches import Rectangle

    n = len(tasks)
    image = axes.pcolormesh(values, cmap=SCALE, vmin=0, vmax=1, edgecolors="white", linewidth=0.6)
    plain_frame(axes)
    axes.set_facecolor("#e4e4e4")
    axes.set_title(f"Step {step} · {tasks[step - 1]}")
    axes.set_ylim(n, 0)
    axes.axvline(n, color="white", linewidth=3)
    if step < n:
        unseen = Rectangle((0, step), n + 1, n - step, fill=False, hatch="////", linewidth=0)
        axes.add_patch(unseen)
    numbers = [*map(str, range(1, n + 1)), "none"]
    axes.set_xticks(np.arange(n + 1) + 0.5, numbers)
    axes.set_yticks(np.arange(n) + 0.5, [f"{task}  {i}" for i, task in enumerate(tasks, 1)])
    if n <= 6:
        for (i, j), value in np.ndenumerate(values):
            if value >= 0.005:
                ink = "white" if value > 0.55 else "#1a1a1a"
                axes.text(j + 0.5, i + 0.52, f"{100 * value:.0f}", color=ink, fontsize=7.5,
                          ha="center", va="center")  # fmt: skip
    return image


@as_svg
def draw(runs: list[dict[str, Routed]], tasks: list[str]) -> Figure:
    """One panel per step, tasks x experts."""
    n, columns = len(tasks), min(len(tasks), 3 if len(tasks) > 4 else 4)
    lines = -(-n // columns)
    figure, axes = new_figure(
        11.0, lines * (0.19 * n + 0.75) + 0.3, lines, columns, sharey=True, sharex=True
    )
    for k, panel in enumerate(axes.flat):
        if k >= n:
            panel.set_axis_off()
            continue
        image = _panel(panel, frequencies(runs, tasks, k + 1), k + 1, tasks)
    figure.supxlabel("expert of task (number), none = the backbone answers", fontsize=8.5)
    figure.supylabel("test samples of task", fontsize=8.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.01)
    bar.set_label("share of samples")
    bar.outline.set_visible(False)
    return figure


def section(results: Results) -> Section:
    """Activation frequencies of every method with routers, mean over its seeds."""
    title = "Expert activation"
    if not results.routes:
        return Section("activation", title, "Absent: no routes of a method with routers.")
    blocks: list[Block] = []
    for method in dict.fromkeys(method for method, _ in results.routes):
        runs = [run for (name, _), run in results.routes.items() if name == method]
        over = f", mean over {len(runs)} seeds" if len(runs) > 1 else ""
        caption = (
            f"{method}{over}: share of each task's test samples for which an expert is active "
            "(percent where there is room), after each step. Two experts can be active at once. "
            "Grey: the expert does not exist yet. Hatched: samples of tasks not trained yet, for "
            "which the last column should be dark."
        )
        alt = f"Expert activation frequencies of {method} per step"
        blocks.append(Picture(draw(runs, results.order(method)), caption, alt, method))
    lead = "Dark cells on the diagonal: samples find the expert of their own task."
    return Section("activation", title, lead, blocks)

"""Sections: budgets of the two towers, and which slots got experts at which task (Fig. 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.report.page import Picture, Section
from stages.core.report.slot_grid import draw_grid, slot_arrays
from stages.core.report.style import (
    COLOURS,
    SCALE,
    TOWER_TITLES,
    as_svg,
    category_ticks,
    new_figure,
)
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def experts(allocation: dict, tower: str) -> int:
    """Slots of a tower with an expert, counted: people may edit the list after the budget."""
    return sum(s["allocated"] for s in allocation["slots"] if s["tower"] == tower)


@as_svg
def draw_budgets(allocations: dict[str, dict]) -> Figure:
    """Stacked bars: experts per tower and task; on the right the trainable parameters."""
    tasks = list(allocations)
    figure, axes = new_figure(8.5, 0.34 * len(tasks) + 0.95)
    panel, left = axes[0, 0], np.zeros(len(tasks))
    for tower, colour in COLOURS.items():
        counts = np.array([experts(a, tower) for a in allocations.values()])
        panel.barh(range(len(tasks)), counts, 0.66, left, color=colour, label=TOWER_TITLES[tower])
        for y, count in enumerate(counts):
            if count:
                ink = "white" if tower == "vision" else "#1a1a1a"
                panel.text(left[y] + count / 2, y, str(count), ha="center", va="center", color=ink)
        left += counts
    for y, allocation in enumerate(allocations.values()):
        share = allocation["towers"]["vision"]["ratio"]
        trained = sum(s["trainable_parameters"] for s in allocation["slots"] if s["allocated"])
        note = f"  vision share {share:.2f} · {trained:,} parameters"
        panel.text(left[y], y, note, va="center", color="#444444", fontsize=7.5)
    category_ticks(panel, tasks)
    most = max(left.max(), 1)
    panel.set_xlim(0, 1.5 * most)  # room for the notes
    panel.set_xticks([tick for tick in panel.get_xticks() if tick <= most])
    panel.spines["bottom"].set_bounds(0, most)
    panel.set_xlabel(f"experts (slots of {next(iter(allocations.values()))['total_slots']})")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


@as_svg
def draw_evolution(allocations: dict[str, dict]) -> Figure:
    """Grid of allocated slots; a last row counts the experts a slot has collected."""
    grid = slot_arrays({task: a["slots"] for task, a in allocations.items()}, "allocated")
    totals = {kind: np.nansum(array, axis=0) for kind, array in grid.items()}
    full = {
        kind: np.vstack([array, totals[kind] / len(allocations)]) for kind, array in grid.items()
    }
    figure = draw_grid(full, [*allocations, "experts in all"], None, cmap=SCALE, vmin=0, vmax=1.15)
    for panel, counts in zip(_panels(figure, grid), totals.values(), strict=True):
        panel.axhline(len(allocations), color="white", linewidth=3)
        for block, count in enumerate(counts):
            # The dark half of the scale needs light digits.
            ink = "white" if count > 0.5 * len(allocations) else "#1a1a1a"
            place = (block + 0.5, len(allocations) + 0.53)
            panel.text(*place, f"{count:.0f}", ha="center", va="center", color=ink, fontsize=7)
    return figure


def _panels(figure: Figure, grid: dict) -> list:
    """The figure's panels in the order of the grid's kinds."""
    titles = [f"{TOWER_TITLES.get(tower, tower)} · {slot}" for tower, slot in grid]
    found = {panel.get_title(loc="left"): panel for panel in figure.axes}
    return [found[title] for title in titles]


def budget_section(results: Results) -> Section:
    """How many experts each tower of the backbone got."""
    title = "Budgets of the towers"
    if not results.allocations:
        return Section("budgets", title, "Absent: no allocations among the inputs.")
    caption = (
        "Slots with an expert, by tower; on the right the vision encoder's share of the budget "
        "before rounding (under budget.modality curriculum its share of the gradient norm) and "
        "the parameters that the experts train."
    )
    blocks = [
        Picture(draw_budgets(a), caption, f"Experts per tower, {scope}", str(scope), k > 0)
        for k, (scope, a) in enumerate(results.allocations.items())
    ]
    lead = "How the experts of each task divide between vision encoder and language model."
    return Section("budgets", title, lead, blocks)


def section(results: Results) -> Section:
    """Which slots got an expert, task after task."""
    title = "Architecture evolution"
    if not results.allocations:
        return Section("evolution", title, "Absent: no allocations among the inputs.")
    caption = (
        "Dark: the slot gets an expert at this task (row, in stream order). Last row: how many "
        "experts the slot has collected by the end of the stream. Same grid as slot sensitivity."
    )
    blocks = [
        Picture(draw_evolution(a), caption, f"Allocated slots, {scope}", str(scope), k > 0)
        for k, (scope, a) in enumerate(results.allocations.items())
    ]
    lead = "Which slots get an expert at which task."
    return Section("evolution", title, lead, blocks)

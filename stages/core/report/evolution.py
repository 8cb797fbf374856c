"""Sections: budgets of the two towers, and which slots got experts at which task (Fig. 6)."""

from __future__ import annotations

from collections.abc import Callable

from stages.core.report.page import Block, Picture, Section, folded
from stages.core.report.slot_grid import TOWER_TITLES, draw_grid, slot_arrays
from stages.core.report.svg import Canvas, Scale, legend, shortened, width_of, x_axis
from stages.core.runs.results import Results

COLOURS = {"vision": "blue", "llm": "orange"}
LINE = 24  # pixels of a task's bar


def experts(allocation: dict, tower: str) -> int:
    """Slots of a tower with an expert, counted: people may edit the list after the budget."""
    return sum(s["allocated"] for s in allocation["slots"] if s["tower"] == tower)


def draw_budgets(allocations: dict[str, dict], label: Callable[[str], str] = str) -> Canvas:
    """Stacked bars: experts per tower and task; on the right the trainable parameters."""
    names = [shortened(label(task)) for task in allocations]
    left, bottom = 10 + max(map(width_of, names)), 30 + LINE * len(names)
    canvas = Canvas(left + 720, bottom + 40)
    most = max(sum(experts(a, tower) for tower in COLOURS) for a in allocations.values())
    scale = Scale(0, max(most, 1), left, left + 430)
    slots = next(iter(allocations.values()))["total_slots"]
    x_axis(canvas, scale, 24, bottom, f"experts (slots of {slots})")
    legend(canvas, left, 9, [(COLOURS[tower], TOWER_TITLES[tower]) for tower in COLOURS])
    for i, (name, allocation) in enumerate(zip(names, allocations.values(), strict=True)):
        y, used = 30 + LINE * i, 0
        canvas.text(left - 8, y + 9, name, "", "end")
        for tower, colour in COLOURS.items():
            count = experts(allocation, tower)
            canvas.rect(scale(used), y, scale(count) - left, 17, colour)
            if count:
                canvas.text(scale(used + count / 2), y + 8.5, str(count), f"on{colour}", "middle")
            used += count
        share = allocation["towers"]["vision"]["ratio"]
        trained = sum(s["trainable_parameters"] for s in allocation["slots"] if s["allocated"])
        note = f"vision share {share:.2f} · {trained:,} parameters"
        canvas.text(scale(used) + 10, y + 9, note, "small")
    return canvas


def draw_evolution(allocations: dict[str, dict], label: Callable[[str], str] = str) -> Canvas:
    """Grid of allocated slots; a last row counts the experts a slot has collected."""
    grid = slot_arrays({task: a["slots"] for task, a in allocations.items()}, "allocated")
    return draw_grid(grid, list(map(label, allocations)))


def _pictures(
    results: Results, draw: Callable[..., Canvas], caption: str, alt: str, name: str
) -> list[Block]:
    pictures: list[Block] = [
        Picture(
            draw(allocations, results.task),
            "" if k else caption,
            f"{alt}, {scope}",
            str(scope),
            "" if k else name,
        )
        for k, (scope, allocations) in enumerate(results.allocations.items())
    ]
    return folded(pictures, "Other seeds and variants")


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
    lead = "How the experts of each task divide between vision encoder and language model."
    blocks = _pictures(results, draw_budgets, caption, "Experts per tower", "budgets")
    return Section("budgets", title, lead, blocks)


def section(results: Results) -> Section:
    """Which slots got an expert, task after task."""
    title = "Architecture evolution"
    if not results.allocations:
        return Section("evolution", title, "Absent: no allocations among the inputs.")
    caption = (
        "Cells that stand out: the slot gets an expert at this task (row, in stream order). Last "
        "row: how many experts it has collected by the end. Same grid as slot sensitivity."
    )
    lead = "Which slots get an expert at which task."
    blocks = _pictures(results, draw_evolution, caption, "Allocated slots", "evolution")
    return Section("evolution", title, lead, blocks)

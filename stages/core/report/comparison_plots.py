"""Pictures of the comparison: scores by task, and forgetting against size."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from stages.core.costs.measured import TOLERANCE
from stages.core.report.style import ACCENT, COLOURS, WIDTH, as_svg, category_ticks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCES = ("zero_shot", "individual", "joint")  # bounds rather than rivals
GREY = "#9a9a9a"


def colour_of(name: str, reference: str) -> str:
    """Orange for the reference, grey for bounds, blue for the rest."""
    return ACCENT if name == reference else GREY if name in REFERENCES else COLOURS["vision"]


@as_svg
def draw_tasks(
    finals: dict[str, dict[str, list[float]]], tasks: list[str], reference: str
) -> Figure:
    """One panel per task, one bar per method.

    Args:
        finals: scores by method and task, one per seed; a method without scores has no bar.
    """
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    height = rows * (0.185 * len(finals) + 0.5)
    figure, axes = new_figure(WIDTH, height, rows, columns, sharey=True)
    names = list(finals)
    for panel, task in zip(axes.flat, tasks, strict=False):
        highest = max((v for name in names for v in finals[name][task]), default=0)
        for y, name in enumerate(names):
            values = finals[name][task]
            if not values:
                panel.text(0, y, " not measured", va="center", color="#5a5a5a", fontsize=7)
                continue
            panel.barh(y, fmean(values), 0.7, color=colour_of(name, reference))
            panel.plot([min(values), max(values)], [y, y], color="#1a1a1a", linewidth=0.9)
            panel.text(max(*values, 0), y, f" {fmean(values):.1f}", va="center", fontsize=7)
        panel.set_title(task)
        panel.set_xlim(0, 1.16 * max(highest, 1))
        panel.tick_params(axis="y", length=0)
        panel.spines["left"].set_visible(False)
        category_ticks(panel, names)
    for panel in axes.flat[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel("score (percent; CIDEr times 100)", fontsize=8.5)
    return figure


@as_svg
def draw_forgetting(points: dict[str, tuple[float, float]], reference: str) -> Figure:
    """Backward transfer against trainable parameters; labels in a column on the right."""
    figure, axes = new_figure(8.5, max(3.2, 0.19 * len(points) + 0.8))
    panel = axes[0, 0]
    sizes = [size for size, _ in points.values()]
    values = [value for _, value in points.values()]
    left, right = min(sizes), max(sizes)
    span = (right - left) or 0.2 * right
    edge = right + 0.12 * span
    panel.set_xlim(left - 0.06 * span, edge + 0.45 * span)
    low, high = min([*values, 0]), max([*values, 0])
    panel.set_ylim(low - 0.06 * (high - low or 1), high + 0.06 * (high - low or 1))
    if reference in points:
        wanted = points[reference][0]
        band = ((1 - TOLERANCE) * wanted, (1 + TOLERANCE) * wanted)
        panel.axvspan(*band, color="#ededed", zorder=0, linewidth=0)
    panel.axhline(0, color="#8a8a8a", linewidth=0.6)
    for name, y in spread({name: value for name, (_, value) in points.items()}, panel.get_ylim()):
        size, value = points[name]
        panel.plot([size, edge], [value, y], color="#d0d0d0", linewidth=0.6, zorder=1)
        panel.plot([size], [value], "o", color=colour_of(name, reference), markersize=6, zorder=2)
        weight = "bold" if name == reference else "normal"
        panel.text(edge, y, f" {name}  {value:+.2f}", va="center", fontsize=8, fontweight=weight)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.set_xticks([tick for tick in panel.get_xticks() if left <= tick <= right] or [right])
    panel.set_xlabel("trainable parameters a task")
    panel.set_ylabel("bwt_dmole")
    return figure


def spread(values: dict[str, float], limits: tuple[float, float]) -> list[tuple[str, float]]:
    """Heights for labels, top down in the order of the values and not closer than the height of
    a line where the axis has room for all."""
    low, high = limits
    gap = (high - low) / (len(values) + 1)
    names = sorted(values, key=lambda name: -values[name])
    places, ceiling = {}, high - gap / 2
    for rank, name in enumerate(names):
        floor = low + gap * (len(names) - rank - 0.5)  # leave room for those below
        places[name] = max(min(values[name], ceiling), floor)
        ceiling = places[name] - gap
    return list(places.items())

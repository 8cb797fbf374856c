"""Sections: reconstruction losses with thresholds per task, and test ratios seen against unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.core.evaluation.routing_quality import Routed
from stages.core.report.page import Block, Picture, Section, Table
from stages.core.report.style import (
    ACCENT,
    INK,
    SEEN,
    UNSEEN,
    as_svg,
    boxes,
    category_ticks,
    log_axis,
    new_figure,
)
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Shares of the data at the named quantiles of router artefacts.
QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
IN_FOLD = "#7f7f7f"
BOXES = (
    "Box: middle half of the rows, black bar: median, line: 5% to 95%, dots: smallest and largest. "
)


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles of a sample under the names of router artefacts."""
    return {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}


def ratios(run: dict[str, Routed], tasks: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Per task its samples' lowest loss-to-threshold ratios while ``unseen`` and once ``seen``.

    A task is unseen at steps 1..i-1 and seen at steps i..N, i its place in the stream.
    """
    found = {}
    for number, task in enumerate(tasks, 1):
        if task in run:
            step, ratio = run[task].step, run[task].ratio
            known = np.isfinite(ratio)
            found[task] = {
                "seen": ratio[known & (step >= number)],
                "unseen": ratio[known & (step > 0) & (step < number)],
            }
    return found


def _legend(panel: Axes, entries: list[tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=colour, lw=0, marker=marker, ms=8, mew=2 * (marker == "|"), label=label
        )
        for colour, marker, label in entries
    ]
    panel.figure.legend(
        handles=handles, loc="outside upper left", ncols=len(entries), frameon=False
    )


@as_svg
def draw_losses(routers: dict[str, dict]) -> Figure:
    """Boxes of in-fold and out-of-fold losses per task and a bar at the threshold."""
    tasks = list(routers)
    figure, axes = new_figure(9.5, 0.42 * len(tasks) + 1.1)
    panel, rows = axes[0, 0], []
    for y, router in enumerate(routers.values()):
        losses = router["losses"]
        if losses["in_fold"]:
            rows.append((y - 0.19, losses["in_fold"], IN_FOLD))
        if losses["out_of_fold"]:
            rows.append((y + 0.19, losses["out_of_fold"], SEEN))
        panel.plot([router["threshold"]] * 2, [y - 0.42, y + 0.42], color=ACCENT, linewidth=2.2)
    boxes(panel, rows, 0.28)
    log_axis(panel)
    category_ticks(panel, tasks)
    panel.set_xlabel("loss (reconstruction error, or distance to the task's rows; log scale)")
    fitted, held_out = (
        any(router["losses"][name] for router in routers.values())
        for name in ("in_fold", "out_of_fold")
    )
    entries = [
        *([(IN_FOLD, "s", "rows the autoencoder was fitted on")] if fitted else []),
        *([(SEEN, "s", "rows it has not seen (out of fold)")] if held_out else []),
        (ACCENT, "|", "threshold"),
    ]
    _legend(panel, entries)
    return figure


@as_svg
def draw_ratios(found: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Boxes of the lowest ratio per task, seen above unseen, and the line at 1."""
    figure, axes = new_figure(9.5, 0.42 * len(found) + 1.1)
    panel, rows = axes[0, 0], []
    for y, parts in enumerate(found.values()):
        for name, shift, colour in (("seen", -0.19, SEEN), ("unseen", 0.19, UNSEEN)):
            if parts[name].size:
                rows.append((y + shift, quantiles(parts[name]), colour))
    boxes(panel, rows, 0.28)
    panel.axvline(1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    log_axis(panel)
    category_ticks(panel, list(found))
    panel.set_xlabel("lowest loss / threshold over the tasks trained so far (log scale)")
    _legend(panel, [(SEEN, "s", "task seen"), (UNSEEN, "s", "task not trained yet")])
    return figure


def _threshold_table(routers: dict[str, dict], scope: str) -> Table:
    rows = []
    for task, router in routers.items():
        rule, losses = router["calibration"], router["losses"]
        inside, held = losses["in_fold"], losses["out_of_fold"]
        numbers = (
            inside["p50"] if inside else None,
            held["p50"] if held else None,
            rule["quantile_value"],
            router["threshold"],
        )
        shown = ["–" if number is None else f"{number:.2e}" for number in numbers]
        rows.append([task, str(router["n"]), *shown])
    rule = next(iter(routers.values()))["calibration"]
    return Table(
        ["Task", "Rows", "Median in fold", "Median out of fold", "Quantile", "Threshold"],
        rows,
        f"Thresholds ({scope}): {rule['factor']:g} times the {100 * rule['quantile']:g}% quantile "
        f"of the {'out-of-fold' if rule['method'] == 'cross_fit' else 'training'} losses, unless "
        "edited by hand in the router's JSON.",
        name=f"thresholds:{scope}",
    )


def section(results: Results) -> Section:
    """Losses of the routers' own rows with thresholds, then ratios of the test samples."""
    title = "Reconstruction losses and thresholds"
    if not results.routers and not results.routes:
        return Section("losses", title, "Absent: no routers among the inputs.")
    blocks: list[Block] = []
    for k, (scope, routers) in enumerate(results.routers.items()):
        alone = all(router["losses"]["out_of_fold"] is None for router in routers.values())
        caption = BOXES + (
            "The thresholds rest on fitted rows, whose losses are lower than those of new samples."
            if alone
            else "A threshold is well placed when it lies right of the blue box and line. The gap "
            "between grey and blue is why it is not set on the fitted rows."
        )
        alt = f"Reconstruction losses and thresholds per task, {scope}"
        blocks.append(Picture(draw_losses(routers), caption, alt, f"Subset rows, {scope}", k > 0))
    if results.routers:
        scope, routers = next(iter(results.routers.items()))
        blocks.append(_threshold_table(routers, str(scope)))
    for k, ((method, seed), run) in enumerate(results.routes.items()):
        caption = (
            "Test samples of each task over all steps, boxes as above. Left of the dashed line an "
            "expert answers, right of it the backbone does. Blue belongs left, orange right."
        )
        where = f"{method}, seed {seed}"
        svg = draw_ratios(ratios(run, results.order(method)))
        alt = f"Lowest loss-to-threshold ratio of seen and unseen tasks, {where}"
        blocks.append(Picture(svg, caption, alt, f"Test samples, {where}", k > 0))
    lead = "A router accepts a sample when its autoencoder's loss is at or under the threshold."
    return Section("losses", title, lead, blocks)

"""A picture with one row per task and one column per block, for each tower and slot kind.

Figures on sensitivity and on allocation share this grid, so that they can be compared cell by cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.report.style import TOWER_TITLES, category_ticks, new_figure, plain_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Grid = dict[tuple[str, str], np.ndarray]  # (tower, slot) -> (tasks, blocks), NaN = no such slot


def slot_arrays(rows: dict[str, list[dict]], key: str) -> Grid:
    """The field ``key`` of slot records (tower, block, slot, ...), listed by task, as a grid."""
    blocks: dict[str, int] = {}
    kinds: list[tuple[str, str]] = []
    for row in (row for listed in rows.values() for row in listed):
        blocks[row["tower"]] = max(blocks.get(row["tower"], 0), row["block"] + 1)
        kinds.append((row["tower"], row["slot"]))
    grid = {
        kind: np.full((len(rows), blocks[kind[0]]), np.nan)
        for kind in sorted(set(kinds), key=lambda k: (k[0] != "vision", k[1] != "qkv", k))
    }
    for t, listed in enumerate(rows.values()):
        for row in listed:
            grid[row["tower"], row["slot"]][t, row["block"]] = row[key]
    return grid


def draw_grid(grid: Grid, labels: list[str], bar_label: str | None, **mesh: Any) -> Figure:
    """Heat maps: towers side by side, slot kinds below each other; optional colour bar."""
    towers = list(dict.fromkeys(tower for tower, _ in grid))
    slots = list(dict.fromkeys(slot for _, slot in grid))
    widths = [next(a.shape[1] for (m, _), a in grid.items() if m == tower) for tower in towers]
    height = len(slots) * (0.21 * len(labels) + 0.55) + 0.2
    figure, axes = new_figure(
        11.0, height, len(slots), len(towers), width_ratios=widths, sharey=True
    )
    for r, slot in enumerate(slots):
        for c, tower in enumerate(towers):
            panel = axes[r, c]
            if (tower, slot) not in grid:
                panel.set_axis_off()
                continue
            image = panel.pcolormesh(grid[tower, slot], edgecolors="white", linewidth=0.6, **mesh)
            _label(panel, f"{TOWER_TITLES.get(tower, tower)} · {slot}", widths[c], labels)
            if r == len(slots) - 1:
                panel.set_xlabel("block")
    if bar_label:
        bar = figure.colorbar(image, ax=axes, shrink=0.9, aspect=25, pad=0.01)
        bar.set_label(bar_label)
        bar.outline.set_visible(False)
    return figure


def _label(panel: Any, title: str, blocks: int, labels: list[str]) -> None:
    plain_frame(panel)
    panel.set_facecolor("#f3f3f3")
    panel.set_title(title)
    step = 1 if blocks <= 12 else 2 if blocks <= 32 else 4
    panel.set_xticks(np.arange(0, blocks, step) + 0.5, range(0, blocks, step))
    category_ticks(panel, labels)
    panel.set_yticks(np.arange(len(labels)) + 0.5, labels)
    panel.set_ylim(len(labels), 0)

"""A picture with one row per task and one column per block, for each tower and slot kind.

Figures on sensitivity and on allocation share this grid, so that they can be compared cell by cell.
"""

from __future__ import annotations

import numpy as np

from stages.core.report.svg import WIDTH, Canvas, colour_bar, shortened, width_of

Grid = dict[tuple[str, str], np.ndarray]  # (tower, slot) -> (tasks, blocks), NaN = no such slot
TOWER_TITLES = {"vision": "Vision encoder", "llm": "Language model"}
HEIGHT = 15  # of a cell


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


def draw_grid(grid: Grid, labels: list[str], scale: str = "") -> Canvas:
    """Heat maps of values in 0..1: towers side by side, slot kinds below each other.

    Args:
        scale: what 1 means; without it the values are 0 or 1, and a last row counts the ones.
    """
    counted = not scale
    towers = list(dict.fromkeys(tower for tower, _ in grid))
    slots = list(dict.fromkeys(slot for _, slot in grid))
    blocks = {tower: array.shape[1] for (tower, _), array in grid.items()}
    names = [shortened(label) for label in [*labels, *(["in all"] if counted else [])]]
    left, gap = 10 + max(map(width_of, names)), 24
    room = WIDTH - left - gap * (len(towers) - 1)
    w = min(26.0, room / sum(blocks.values()))
    across = {tower: max(w * blocks[tower], 165) + gap for tower in towers}
    down = len(names) * HEIGHT + 46
    canvas = Canvas(left + sum(across.values()), len(slots) * down + 24)
    for r, slot in enumerate(slots):
        x, y = left, 24 + r * down
        for i, name in enumerate(names):
            canvas.text(left - 8, y + (i + 0.5) * HEIGHT, name, "", "end")
        canvas.text(left - 8, y + len(names) * HEIGHT + 8, "block", "small", "end")
        for tower in towers:
            if (tower, slot) in grid:
                title = f"{TOWER_TITLES.get(tower, tower)} · {slot}"
                _panel(canvas, grid[tower, slot], title, (x, y), w, counted)
            x += across[tower]
    if scale:
        colour_bar(canvas, left, canvas.height - 14, scale)
    return canvas


def _panel(
    canvas: Canvas,
    values: np.ndarray,
    title: str,
    corner: tuple[float, float],
    w: float,
    counted: bool,
) -> None:
    (x, y), (tasks, blocks) = corner, values.shape
    canvas.text(x, y - 11, title, "bold")
    canvas.cells(values, x, y, (w, HEIGHT))
    if counted:
        for block, count in enumerate(np.nansum(values > 0, axis=0)):
            place = (x + (block + 0.5) * w, y + (tasks + 0.5) * HEIGHT)
            canvas.text(*place, str(count), "tiny" if w < 14 else "small", "middle")
    bottom = y + (tasks + counted) * HEIGHT + 8
    step = next(k for k in (1, 2, 4, 8, 16, 32) if k * w >= 16 or k == 32)
    for block in range(0, blocks, step):
        canvas.text(x + (block + 0.5) * w, bottom, str(block), "small", "middle")

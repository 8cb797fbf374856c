"""Section: which slots each task is sensitive to (paper, Fig. 1)."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np

from stages.core.report.page import Block, Picture, Section, Table, folded
from stages.core.report.slot_grid import TOWER_TITLES, draw_grid, slot_arrays
from stages.core.report.svg import Canvas
from stages.core.runs.results import Results


def relative_scores(profiles: dict[str, list[dict]]) -> dict[tuple[str, str], np.ndarray]:
    """Slot scores / largest of the same task and tower: (tower, slot) -> (tasks, blocks)."""
    grid = slot_arrays(profiles, "score")
    largest = {
        tower: np.nanmax([np.nanmax(a, axis=1) for (m, _), a in grid.items() if m == tower], axis=0)
        for tower in {tower for tower, _ in grid}
    }
    # A tower without any gradient stays at zero.
    largest = {tower: np.where(top > 0, top, 1.0) for tower, top in largest.items()}
    return {kind: array / largest[kind[0]][:, None] for kind, array in grid.items()}


def draw(profiles: dict[str, list[dict]], label: Callable[[str], str] = str) -> Canvas:
    """Heat map of relative slot scores."""
    return draw_grid(relative_scores(profiles), list(map(label, profiles)), "largest slot")


def _noise(rows: list[dict]) -> str:
    """Median relative standard error of slots with a gradient, in percent."""
    shares = [100 * row["standard_error"] / row["score"] for row in rows if row["score"] > 0]
    return f"{median(shares):.1f}%" if shares else "–"


def _steadiness(profiles: dict[str, list[dict]], scope: str, label: Callable[[str], str]) -> Table:
    """Sample count, loss and relative standard error per tower, so that noise is visible."""
    towers = list(dict.fromkeys(row["tower"] for rows in profiles.values() for row in rows))
    table = []
    for task, rows in profiles.items():
        shares = [_noise([row for row in rows if row["tower"] == tower]) for tower in towers]
        size, loss = rows[0]["n_samples"], rows[0]["mean_loss"]
        table.append([label(task), str(size), f"{loss:.3f}", *shares])
    errors = [f"Median error, {TOWER_TITLES.get(m, m).lower()}" for m in towers]
    return Table(
        ["Task", "Samples", "Mean loss (nats/token)", *errors],
        table,
        f"What the profiles rest on ({scope}): subset size, the backbone's loss on it, and the "
        "median over slots of the score's relative standard error.",
        name=f"profiles:{scope}",
    )


def section(results: Results) -> Section:
    """Heat map and its noise, per seed."""
    title = "Slot sensitivity"
    if not results.profiles:
        return Section("sensitivity", title, "Absent: no gradient profiles among the inputs.")
    caption = (
        "Gradient norm of every slot on the pretrained backbone, before any training. Rows: "
        "tasks in stream order; columns: blocks from input to output. The more a cell stands out, "
        "the more sensitive is the slot; each task and tower is scaled by its own largest slot, so "
        "compare along a row."
    )
    pictures: list[Block] = [
        Picture(
            draw(profiles, results.task),
            "" if k else caption,
            f"Heat map of slot sensitivity by task, {scope}",
            str(scope),
            "" if k else "sensitivity",
        )
        for k, (scope, profiles) in enumerate(results.profiles.items())
    ]
    blocks = folded(pictures, "Other seeds and variants")
    first = next(iter(results.profiles))
    blocks.append(_steadiness(results.profiles[first], str(first), results.task))
    lead = "How strongly each task's loss depends on each slot: what the allocation goes by."
    return Section("sensitivity", title, lead, blocks)

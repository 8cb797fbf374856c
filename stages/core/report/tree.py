"""Section: which earlier expert each new expert was trained beside, drawn as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.core.base.errors import InputError
from stages.core.report.page import Block, Cell, Picture, Section, Table
from stages.core.report.style import as_svg, new_figure
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = 1.15  # inches from a parent to its children


def walk(transfers: dict[str, dict]) -> list[tuple[str, int]]:
    """Tasks depth first, each with its depth (0 = no parent), children in stream order.

    Raises:
        InputError: a parent that is not an earlier task of the stream.
    """
    order = list(transfers)
    children: dict[str | None, list[str]] = {}
    for place, (task, transfer) in enumerate(transfers.items()):
        parent = transfer["parent"]
        if parent is not None and parent not in order[:place]:
            raise InputError(
                f"transfer of {task!r}: parent {parent!r} is not among the earlier tasks "
                f"({', '.join(order[:place]) or 'none'})."
            )
        children.setdefault(parent, []).append(task)
    waiting = [(task, 0) for task in reversed(children.get(None, []))]
    visited = []
    while waiting:
        task, depth = waiting.pop()
        visited.append((task, depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(task, []))]
    return visited


@as_svg
def draw(transfers: dict[str, dict]) -> Figure:
    """Tree from left to right, one line per task, the mean loss on each edge."""
    nodes = walk(transfers)
    numbers = {task: i for i, task in enumerate(transfers, 1)}
    row = {task: y for y, (task, _) in enumerate(nodes)}
    depth = dict(nodes)
    width = STEP * max(depth.values()) + 0.4 + 0.085 * max(map(len, transfers))
    figure, axes = new_figure(max(width, 3.0), 0.42 * len(nodes) + 0.1)
    panel = axes[0, 0]
    panel.set_axis_off()
    for task, _ in nodes:
        x, y = STEP * depth[task], row[task]
        parent = transfers[task]["parent"]
        if parent is not None:
            corner = STEP * depth[parent]
            panel.plot([corner, corner, x], [row[parent], y, y], color="#8a8a8a", zorder=1)
            loss = f"{transfers[task]['losses'][parent]:.2e}"
            panel.text((corner + x) / 2, y - 0.1, loss, ha="center", va="bottom", fontsize=7.5)
        panel.plot([x], [y], "o", markersize=15, color="#0072B2", zorder=2)
        panel.text(x, y + 0.02, str(numbers[task]), color="white", ha="center", va="center")
        panel.text(x + 0.2, y, task, va="center")
    panel.set_xlim(-0.2, max(width, 3.0) - 0.2)
    panel.set_ylim(len(nodes) - 0.5, -0.5)
    return figure


def _losses(transfers: dict[str, dict], scope: str) -> Table:
    tasks = list(transfers)
    rows: list[list[Cell | str]] = []
    for task, transfer in transfers.items():
        row: list[Cell | str] = [task]
        for earlier in tasks[:-1]:
            loss = transfer["losses"].get(earlier)
            chosen = earlier == transfer["parent"]
            text = "" if loss is None else f"{loss:.2e}"
            row.append(Cell(text, "chosen as parent" if chosen else "", marks="chosen" * chosen))
        rows.append(row)
    return Table(
        ["New task", *tasks[:-1]],
        rows,
        f"Mean reconstruction loss of a new task's rows (row) under each earlier task's "
        f"autoencoder (column), {scope}. Bold: the parent.",
        name=f"parents:{scope}",
    )


def _weighed(results: Results) -> list[Block]:
    """What trainings that weighed their parents found, if any did."""
    rows: list[list[Cell | str]] = [
        [
            f"{scope}",
            task,
            weighed["task"],
            "yes" if weighed["accepted"] else "no",
            f"{weighed['losses']['backbone']:.3f}",
            f"{weighed['losses']['beside']:.3f}",
        ]
        for scope, trainings in results.trainings.items()
        for task, training in trainings.items()
        if (weighed := training.get("parent"))
    ]
    heads = ["Run", "New task", "Closest", "Parent", "Loss of the backbone", "Loss beside it"]
    caption = (
        "Under transfer.accept lower_loss the closest earlier task is a parent only if its frozen "
        "expert lowers the backbone's loss on the new task's subset."
    )
    return [Table(heads, rows, caption, labels=4, name="weighed")] if rows else []


def section(results: Results) -> Section:
    """The tree of parents and its depth, per seed."""
    title = "Parent tree"
    if not results.transfers:
        return Section("tree", title, "Absent: no transfers among the inputs.")
    blocks: list[Block] = []
    for k, (scope, transfers) in enumerate(results.transfers.items()):
        longest = 1 + max(depth for _, depth in walk(transfers))
        caption = (
            f"Numbers: place in the stream; on the edges: mean reconstruction loss of the child's "
            f"rows under the parent's autoencoder. Longest branch: {longest} of {len(transfers)} "
            "tasks, so that many trainings must follow each other; others run side by side."
        )
        alt = f"Tree of parent experts, {scope}, longest branch {longest}"
        blocks.append(Picture(draw(transfers), caption, alt, str(scope), folded=k > 0))
    scope, transfers = next(iter(results.transfers.items()))
    if len(transfers) > 1:
        blocks.append(_losses(transfers, str(scope)))
    blocks += _weighed(results)
    lead = "Each expert is trained beside the frozen expert of the most similar earlier task."
    return Section("tree", title, lead, blocks)

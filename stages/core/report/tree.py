"""Section: which earlier expert each new expert was trained beside, drawn as a tree."""

from __future__ import annotations

from collections.abc import Callable

from stages.core.base.errors import InputError
from stages.core.report.page import Block, Cell, Picture, Section, Table, folded
from stages.core.report.svg import Canvas, width_of
from stages.core.runs.results import Results

STEP, LINE = 110, 36  # pixels from a parent to its children, and from one task to the next


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


def draw(transfers: dict[str, dict], label: Callable[[str], str] = str) -> Canvas:
    """Tree from left to right, one line per task, the mean loss on each edge."""
    nodes = walk(transfers)
    numbers = {task: i for i, task in enumerate(transfers, 1)}
    places = {task: (20 + STEP * d, 22 + LINE * i) for i, (task, d) in enumerate(nodes)}
    ends = [places[task][0] + 24 + width_of(label(task)) for task in transfers]
    canvas = Canvas(max(*ends, 300), LINE * len(nodes) + 8)
    for task, (x, y) in places.items():
        parent = transfers[task]["parent"]
        if parent is not None:
            corner, above = places[parent]
            canvas.line([(corner, above), (corner, y), (x, y)], "pale")
            loss = f"{transfers[task]['losses'][parent]:.3g}"
            canvas.text((corner + x) / 2, y - 9, loss, "small", "middle")
    for task, (x, y) in places.items():
        canvas.dot(x, y, "blue", radius=11)
        canvas.text(x, y, str(numbers[task]), "onblue", "middle")
        canvas.text(x + 18, y, label(task))
    return canvas


def _losses(transfers: dict[str, dict], scope: str, label: Callable[[str], str]) -> Table:
    tasks = list(transfers)
    rows: list[list[Cell | str]] = []
    for task, transfer in transfers.items():
        row: list[Cell | str] = [label(task)]
        for earlier in tasks[:-1]:
            loss = transfer["losses"].get(earlier)
            chosen = earlier == transfer["parent"]
            text = "" if loss is None else f"{loss:.3g}"
            row.append(Cell(text, "chosen as parent" if chosen else "", marks="chosen" * chosen))
        rows.append(row)
    return Table(
        ["New task", *map(label, tasks[:-1])],
        rows,
        f"Mean loss of a new task's rows (row) under each earlier task's "
        f"router (column), {scope}. Bold: the parent.",
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
    pictures: list[Block] = []
    for k, (scope, transfers) in enumerate(results.transfers.items()):
        longest = 1 + max(depth for _, depth in walk(transfers))
        caption = (
            f"Numbers: place in the stream; on the edges: mean loss of the child's "
            f"rows under the parent's router. Longest branch: {longest} of {len(transfers)} "
            "tasks, so that many trainings must follow each other; others run side by side."
        )
        alt = f"Tree of parent experts, {scope}, longest branch {longest}"
        canvas = draw(transfers, results.task)
        pictures.append(Picture(canvas, caption, alt, str(scope), "" if k else "parents"))
    blocks = folded(pictures, "Other seeds and variants")
    scope, transfers = next(iter(results.transfers.items()))
    if len(transfers) > 1:
        blocks.append(_losses(transfers, str(scope), results.task))
    blocks += _weighed(results)
    lead = "Each expert is trained beside the frozen expert of the most similar earlier task."
    return Section("tree", title, lead, blocks)

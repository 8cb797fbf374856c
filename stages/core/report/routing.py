"""Section: does the routing recognise seen tasks and reject unseen ones?"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from stages.core.report.page import Block, Fold, Note, Section, Table
from stages.core.runs.results import Results


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}"


def area(value: float | None) -> str:
    """An area under a curve, which may be near 1."""
    return "–" if value is None else f"{value:.4f}"


def _mean(entries: list[dict[str, Any]], part: str, key: str) -> float | None:
    values = [entry[part][key] for entry in entries if entry[part][key] is not None]
    return fmean(values) if values else None


def _summary(routing: list[dict[str, Any]], results: Results) -> Table:
    rows = []
    for name in dict.fromkeys(entry["name"] for entry in routing):
        mine = [entry for entry in routing if entry["name"] == name]
        rows.append(
            [
                results.label(name),
                str(len(mine)),
                str(sum(entry["last"]["n_seen"] for entry in mine)),
                percent(_mean(mine, "last", "own_nearest")),
                percent(_mean(mine, "last", "own_first")),
                percent(_mean(mine, "last", "seen_rejected")),
                str(sum(entry["before"]["n_unseen"] for entry in mine)),
                str(sum(entry["before"]["n_seen"] for entry in mine)),
                percent(_mean(mine, "before", "unseen_rejected")),
                area(_mean(mine, "before", "auroc")),
            ]
        )
    head = ["Method", "Seeds", "n, last step", "Own task nearest %", "Own expert first %"]
    head += ["Backbone answers %", "n unseen", "n seen", "Unseen rejected %", "AUROC"]
    return Table(
        head,
        rows,
        "Left, at the last step, when every task is seen: how often the own task has the lowest "
        "loss-to-threshold ratio, how often its expert is active and ranks first, and how often no "
        "expert is. Right, steps 1 to N-1 together: how often samples of tasks not trained yet "
        "are left to the backbone, and the AUROC of the lowest ratio for unseen against seen "
        "samples (0.5 chance, 1 perfect). Means over seeds; n: samples of all seeds.",
        name="routing",
    )


def _by_step(entry: dict[str, Any], results: Results) -> Table:
    rows = [
        [
            f"{step} · {results.task(found['task'])}",
            str(found["n_seen"]),
            percent(found["own_first"]),
            percent(found["seen_rejected"]),
            str(found["n_unseen"]),
            percent(found["unseen_rejected"]),
            area(found["auroc"]),
        ]
        for step, found in enumerate(entry["steps"], 1)
    ]
    head = ["After step", "n seen", "Own expert first %", "Seen rejected %"]
    return Table(
        [*head, "n unseen", "Unseen rejected %", "AUROC"],
        rows,
        f"{results.label(entry['name'])}, seed {entry['seed']}: the same step by step.",
        name="routing-steps",
    )


def section(results: Results) -> Section:
    """Accuracy on seen tasks and rejection of unseen ones, per method."""
    title, routing = "Routing quality", results.comparison["routing"]
    if not routing:
        return Section("routing", title, "Absent: no routes of a method with routers.")
    steps = Fold("Step by step", [_by_step(routing[0], results)])
    blocks: list[Block] = [_summary(routing, results), steps]
    if len(results.tasks) == 1:
        blocks.append(Note("One task only: there is no step with unseen tasks, hence no AUROC."))
    lead = "No task identity is given at test time: the routers must tell tasks apart."
    return Section("routing", title, lead, blocks)

"""Section: what routing scores mean, by how far tasks can be told apart without any learning."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from stages.core.report.page import Cell, Section, Table, folded
from stages.core.report.routing import percent
from stages.core.runs.results import Results
from stages.core.runs.runs import split_scope
from stages.core.runs.separability import HALVES, RULES, most_shared

NAMES = {"prototype": "nearest mean", "neighbour": "nearest row"}
EVERY = "all tasks"


def _by_variant(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The sets of features by the variant that owns them ('': none), an entry per seed."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in found["features"]:
        groups[split_scope(entry["scope"])[1]].append(entry)
    return dict(sorted(groups.items()))


def _share(entries: Sequence[dict[str, Any]], rule: str, half: str, tasks: Sequence[str]) -> float:
    """Mean over seeds and tasks."""
    return fmean(entry[rule][half][task] for entry in entries for task in tasks)


def _apart(entries: Sequence[dict[str, Any]], results: Results, title: str, caption: str) -> Table:
    tasks = results.separability["tasks"]
    named = [(results.task(task), [task]) for task in tasks]
    rows = [
        [name, *(percent(_share(entries, r, half, of)) for r in RULES for half in HALVES)]
        for name, of in [*named, (EVERY, tasks)]
    ]
    head = ["Task", *(f"{NAMES[rule]}, {half} %" for rule in RULES for half in HALVES)]
    return Table(head, rows, caption, title, name=f"apart:{title}" if title else "apart")


def _shared(found: dict[str, Any], results: Results) -> Table:
    """Of every task's test rows: what its own and another task's training rows hold too."""
    rows: list[list[Cell | str]] = []
    for task in found["tasks"]:
        row: list[Cell | str] = [results.task(task)]
        for shares in (found["prompts"][task], found["images"][task]):
            most = most_shared(shares, task)
            text = f"{percent(most[1])} ({results.task(most[0])})" if most else "0.0"
            row += [percent(shares.get(task)), Cell(text, value=most[1] if most else 0.0)]
        rows.append(row)
    head = [
        "Task",
        *(f"{what}, {by} %" for what in ("prompts", "images") for by in ("own", "other")),
    ]
    caption = (
        "Test prompts (without case and marks) and test images that stand in training rows too: "
        "of the own task, and of the other task that holds most of them. Prompts of the own task "
        "alone give it away."
    )
    return Table(head, rows, caption, name="shared")


def section(results: Results) -> Section:
    """Accuracy of the nearest mean and row, and what tasks share."""
    title, found = "Tasks told apart without learning", results.separability
    groups, shared = _by_variant(found), _shared(found, results)
    if not groups:
        lead = "No method routes by features; what the tasks share is known all the same."
        return Section("separability", title, lead, [shared])
    first = next(iter(groups.values()))
    tasks = found["tasks"]
    mean, row = (percent(_share(first, rule, "both", tasks)) for rule in RULES)
    lead = (
        f"What the routing scores mean: the nearest mean feature of a task's subset already gives "
        f"{mean} % of the test rows to their own task, the nearest single row {row} %. Chance is "
        f"{percent(1 / len(tasks))} %."
    )
    caption = (
        "Share of a task's test rows whose nearest mean of the subsets' features, or nearest row "
        "of them, is the own task's; by the image half, the text half, and both. Means over seeds."
    )
    tables = [
        _apart(entries, results, results.label(name), caption if entries is first else "")
        for name, entries in groups.items()
    ]
    blocks = folded(tables, "By the features of variants")
    return Section("separability", title, lead, [*blocks, shared])

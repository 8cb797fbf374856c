"""Section: how routing and scores hold when questions come in other words (`cmit robust`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from stages.core.report.page import Block, Fold, Section, Table
from stages.core.report.routing import area, percent
from stages.core.runs.results import Results

SHARES = {
    "own_first": "Own expert first %",
    "other_first": "Another's first %",
    "rejected": "Backbone answers %",
}
Entry = dict[str, Any]
Entries = dict[tuple[str, str | None], list[Entry]]  # by kind and task (None: all), one per seed
Format = Callable[[float | None], str]
Line = tuple[str, str, Entries]  # a label, the number that is shown, and of what


def _by_run(results: Results) -> dict[str, Entries]:
    """What was measured of each run, in the order of the methods."""
    found: dict[str, Entries] = {}
    for name in results.methods:
        mine: Entries = defaultdict(list)
        for (run, _), content in results.robust.items():
            for entry in content["wordings"] if run == name else ():
                mine[entry["kind"], entry["task"]].append(entry)
        if mine:
            found[name] = mine
    return found


def _mean(entries: Iterable[Entry], key: str) -> float | None:
    """Over seeds; None where none has a value."""
    values = [entry[key] for entry in entries if entry.get(key) is not None]
    return fmean(values) if values else None


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _who_answers(found: dict[str, Entries], results: Results) -> Table:
    rows = [
        [
            results.label(name),
            kind.replace("_", " "),
            str(len(entries)),
            str(sum(entry["n"] for entry in entries)),
            *(percent(_mean(entries, key)) for key in SHARES),
            area(_mean(entries, "auroc")),
            percent(_mean(entries, "unknown_rejected")),
        ]
        for name, mine in found.items()
        for (kind, task), entries in mine.items()
        if task is None and "own_first" in entries[0]
    ]
    return Table(
        ["Method", "Wording", "Seeds", "n", *SHARES.values(), "AUROC", "Unknown rejected %"],
        rows,
        "Means over tasks and seeds; plain: the question as it is in the test rows; n: samples of "
        "all seeds. AUROC: lowest loss / threshold of samples of tasks not learnt yet, asked "
        "plainly, against known samples.",
        labels=2,
        name="robust",
    )


def _score_lines(found: dict[str, Entries], results: Results) -> list[Line]:
    """Who has a score: methods, routed ones by their own experts too, and the backbone once."""
    lines: list[Line] = []
    alone: list[Line] = []
    for name, mine in found.items():
        label, entry = results.label(name), next(iter(mine.values()))[0]
        routed = "own_first" in entry
        if "score_routed" in entry:
            lines.append((f"{label}, as routed" if routed else label, "score_routed", mine))
        if "score_own" in entry:
            lines.append((f"{label}, own expert", "score_own", mine))
        if "score_backbone" in entry:
            alone.append(("Backbone alone", "score_backbone", mine))
    return [*lines, *alone[:1]]


def _by_kind(
    lines: Sequence[Line], tasks: Mapping[str | None, str], form: Format, caption: str, **more: Any
) -> Table:
    """A row per line and task, a column per kind of wording."""
    kinds = list(dict.fromkeys(kind for _, _, mine in lines for kind, _ in mine))
    rows = [
        [label, *([called] if called else [])]
        + [form(_mean(mine.get((kind, task), []), key)) for kind in kinds]
        for label, key, mine in lines
        for task, called in tasks.items()
    ]
    places = ["Who answers", *(["Task"] if any(tasks.values()) else [])]
    head = [*places, *(kind.replace("_", " ") for kind in kinds)]
    return Table(head, rows, caption, labels=len(places), **more)


def _tables(results: Results) -> list[Block]:
    """All tasks together, then task by task on demand."""
    found = _by_run(results)
    scores = _score_lines(found, results)
    routed = [
        (results.label(name), "own_first", mine)
        for name, mine in found.items()
        if "own_first" in next(iter(mine.values()))[0]
    ]
    tasks: dict[str | None, str] = {task: results.task(task) for task in results.tasks}
    blocks: list[Block] = [_who_answers(found, results)] if routed else []
    single: list[Block] = []
    if scores:
        asked = sorted({content["samples"] for content in results.robust.values()})
        caption = (
            "Mean score over tasks and seeds, by wording. Own expert: the expert of the sample's "
            "task answers whatever the routing says. Samples of each task at most: "
            f"{', '.join(map(str, asked))}."
        )
        blocks.append(_by_kind(scores, {None: ""}, _score, caption, name="robust-scores"))
        single.append(_by_kind(scores, tasks, _score, "", title="Score", name="robust-task-scores"))
    if routed:
        title = "Own expert first %"
        single.insert(0, _by_kind(routed, tasks, percent, "", title=title, name="robust-tasks"))
    return [*blocks, Fold("By task", single)]


def section(results: Results) -> Section:
    """The tables, where `cmit robust` was asked for them."""
    title = "Other wordings"
    if not results.robust:
        lead = "Absent: no robust.json of a run. The command cmit robust RUN --save writes it."
        return Section("robust", title, lead)
    lead = "Test questions asked in other words: who answers, and how well."
    return Section("robust", title, lead, _tables(results))

"""Section: how routing and scores hold when questions come in other words (`cmit robust`)."""

from __future__ import annotations

from typing import Any

from stages.core.report.page import Block, Fold, Section, Table
from stages.core.report.routing import area, percent
from stages.core.runs.results import Results

SHARES = {
    "own_first": "Own expert first %",
    "other_first": "Another's first %",
    "rejected": "Backbone answers %",
}
SCORES = {
    "score_routed": "Score as routed",
    "score_own": "Score of own expert",
    "score_backbone": "Score of backbone",
}


def _row(entry: dict[str, Any], scored: bool) -> list[str]:
    scores = [f"{entry[key]:.1f}" if key in entry else "–" for key in SCORES if scored]
    return [str(entry["n"]), *(percent(entry[key]) for key in SHARES), *scores]


def _tables(results: Results) -> list[Block]:
    """All tasks together for every run, then task by task on demand."""
    found = results.robust
    scored = any("score_routed" in e for content in found.values() for e in content["wordings"])
    shown = [*SHARES.values(), *(SCORES.values() if scored else ())]
    overall, single = [], []
    for (name, seed), content in found.items():
        place = [results.label(name), str(seed)]
        for entry in content["wordings"]:
            kind, row = entry["kind"].replace("_", " "), _row(entry, scored)
            if entry["task"] is None:
                known = [area(entry.get("auroc")), percent(entry.get("unknown_rejected"))]
                overall.append([*place, kind, *row, *known])
            else:
                single.append([*place, kind, results.task(entry["task"]), *row])
    by_task = Table(
        ["Method", "Seed", "Wording", "Task", "n", *shown],
        single,
        "",
        labels=4,
        name="robust-tasks",
    )
    return [
        Table(
            ["Method", "Seed", "Wording", "n", *shown, "AUROC", "Unknown rejected %"],
            overall,
            "Means over tasks; plain: the question as it is in the test rows. AUROC: lowest loss / "
            "threshold of samples of tasks not learnt yet, asked plainly, against known samples.",
            labels=3,
            name="robust",
        ),
        Fold("By task", [by_task]),
    ]


def section(results: Results) -> Section:
    """The tables, where `cmit robust` was asked for them."""
    title = "Other wordings"
    if not results.robust:
        lead = (
            "Absent: no robust.json in the folder of a run. The command cmit robust RUN --out "
            "RUN/seed0/METHOD/robust.json writes it."
        )
        return Section("robust", title, lead)
    lead = "Test questions asked in other words: who answers, and how well."
    return Section("robust", title, lead, _tables(results))

"""Tables of differences from the reference: over seeds and tasks, and by test sample."""

from __future__ import annotations

from typing import Any

from stages.core.costs.comparison import KEYS
from stages.core.report.page import Cell, Table
from stages.core.report.ranking import ranked

Content = dict[str, Any]  # of comparison.json


def name_cell(entry: dict[str, Any], note: str = "") -> Cell:
    """What people call a method, with its name where that is another."""
    label = entry.get("label", entry["name"])
    return Cell(f"{label}{note}", "" if label == entry["name"] else entry["name"])


def reference_label(content: Content) -> str:
    """What people call the reference."""
    return next(name_cell(e).text for e in content["methods"] if e["name"] == content["reference"])


def _shown(found: dict[str, Any] | None) -> list[Cell | str]:
    if found is None:
        return ["–", ""]
    spread_ = "" if found["spread"] is None else f" ± {found['spread']:.2f}"
    return [f"{found['mean']:+.2f}{spread_}", f"{found['p']:.3f}"]


def differences(content: Content) -> Table:
    """Of each compared metric, by seed, with the test over tasks."""
    reference = reference_label(content)
    rows: list[list[Cell | str]] = []
    for entry in ranked(content["methods"]):
        if entry["differences"]:
            cells = [_shown(entry["differences"][key]) for key in KEYS]
            rows.append([name_cell(entry), *(cell for pair in cells for cell in pair)])
    n = len(content["tasks"])
    return Table(
        ["Method", *(text for key in KEYS for text in (f"Δ {key}", "p"))],
        rows,
        f"Each method minus {reference}, paired by seed: mean ± half the 95% interval over seeds. "
        "p: two-sided permutation test (signs of the differences by task, each the mean over "
        f"seeds). With {n} tasks the smallest possible p is {2 / 2**n:.3f} (bwt has one task "
        "less); no correction for the number of methods.",
        title=f"Paired differences from {reference}",
        name="differences",
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def by_sample(content: Content) -> Table:
    """Of the scores at the end, by test sample, with both tests."""
    reference = reference_label(content)
    rows: list[list[Cell | str]] = []
    for entry in ranked(content["methods"]):
        if found := entry["by_sample"]:
            rows.append(
                [
                    name_cell(entry),
                    f"{found['mean']:+.2f} ± {found['half_width']:.2f}",
                    _p(found["p"]),
                    _p(found["p_tasks"]),
                    f"{found['detectable']:.2f}",
                ]
            )
    many = len(content["seeds"]) > 1
    drawn = "rows and seeds" if many else "rows"
    return Table(
        ["Method", "Δ at the end", "p", "p by task", "smallest detectable"],
        rows,
        f"Each method minus {reference}, sample by sample, after the last step at which a method "
        "was measured on a task (individual: right after learning it); every task counts the same. "
        f"± half the 95% interval and p: had other test {drawn} of these tasks been drawn (t test; "
        "the variance of rows within tasks"
        + (" and that of seeds" if many else "; with one seed nothing is known of others")
        + "). p by task: had other tasks been drawn (permutation test of the tasks' means). "
        "Smallest detectable: the true difference that four of five such experiments would find at "
        "p < 0.05. "
        "No correction for the number of methods.",
        title=f"Differences from {reference} by test sample",
        name="by_sample",
    )

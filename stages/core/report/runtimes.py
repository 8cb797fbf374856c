"""Section: wall-clock time and memory of the jobs, from Snakemake's benchmark files."""

from __future__ import annotations

from typing import Any

from stages.core.report.page import Block, Cell, Picture, Section, Table
from stages.core.report.svg import Canvas, Scale, width_of, x_axis
from stages.core.runs.results import Results


def readable(seconds: float) -> str:
    """Seconds as ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def draw(rules: list[dict[str, Any]]) -> Canvas:
    """Total minutes of each rule's jobs."""
    left, bottom = 10 + max(width_of(entry["rule"]) for entry in rules), 8 + 22 * len(rules)
    canvas = Canvas(left + 620, bottom + 38)
    totals = [entry["total"] / 60 for entry in rules]
    scale = Scale(0, max(totals) or 1, left, left + 530)
    x_axis(canvas, scale, 4, bottom, "minutes, all jobs of the rule together")
    for i, (entry, total) in enumerate(zip(rules, totals, strict=True)):
        y = 8 + 22 * i
        canvas.text(left - 8, y + 8, entry["rule"], "", "end")
        canvas.rect(left, y, scale(total) - left, 16, "blue")
        canvas.text(scale(total) + 8, y + 8, readable(entry["total"]), "small")
    return canvas


def time_cell(seconds: float) -> Cell:
    """Seconds for people, and as a number to sort by."""
    return Cell(readable(seconds), value=seconds)


def _table(rules: list[dict[str, Any]]) -> Table:
    rows: list[list[Cell | str]] = []
    for entry in rules:
        peak = "–" if entry["peak_mib"] is None else f"{entry['peak_mib']:.0f}"
        shown = [time_cell(entry[key]) for key in ("total", "median", "longest")]
        rows.append([entry["rule"], str(entry["jobs"]), *shown, peak])
    return Table(
        ["Rule", "Jobs", "Total", "Median", "Longest", "Peak memory (MiB)"],
        rows,
        "Wall-clock time per job as Snakemake measured it. Jobs that ran side by side are counted "
        "each in full; memory is the largest resident set seen.",
        name="runtimes",
    )


def section(results: Results) -> Section:
    """Time per rule, longest in all first."""
    title, rules = "Run times", results.comparison["run_times"]
    if not rules:
        return Section("runtimes", title, "Absent: no benchmark files among the inputs.")
    caption = "Where the time goes, by rule (= stage of the pipeline)."
    blocks: list[Block] = [
        Picture(draw(rules), caption, "Run times per rule", name="run_times"),
        _table(rules),
    ]
    return Section("runtimes", title, "Times of the jobs that made these results.", blocks)

"""Section: wall-clock time and memory of the jobs, from Snakemake's benchmark files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.core.report.page import Block, Picture, Section, Table
from stages.core.report.style import COLOURS, as_svg, category_ticks, new_figure
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def readable(seconds: float) -> str:
    """Seconds as ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


@as_svg
def draw(rules: list[dict[str, Any]]) -> Figure:
    """Total minutes of each rule's jobs."""
    totals = [entry["total"] / 60 for entry in rules]
    figure, axes = new_figure(8.5, 0.3 * len(rules) + 0.6)
    panel = axes[0, 0]
    panel.barh(range(len(rules)), totals, 0.62, color=COLOURS["vision"])
    for y, total in enumerate(totals):
        panel.text(total, y, f"  {readable(60 * total)}", va="center")
    category_ticks(panel, [entry["rule"] for entry in rules])
    panel.set_xlim(0, 1.12 * max(totals) or 1)
    panel.set_xlabel("minutes, all jobs of the rule together")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    return figure


def _table(rules: list[dict[str, Any]]) -> Table:
    rows = []
    for entry in rules:
        peak = "–" if entry["peak_mib"] is None else f"{entry['peak_mib']:.0f}"
        shown = [readable(entry[key]) for key in ("total", "median", "longest")]
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
    blocks: list[Block] = [Picture(draw(rules), caption, "Run times per rule"), _table(rules)]
    return Section("runtimes", title, "Times of the jobs that made these results.", blocks)

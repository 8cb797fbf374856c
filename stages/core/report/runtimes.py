"""Section: wall-clock time and memory of the jobs, from Snakemake's benchmark files."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from stages.core.report.page import Picture, Section, Table
from stages.core.report.results import Results
from stages.core.report.style import COLOURS, as_svg, category_ticks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def readable(seconds: float) -> str:
    """Seconds as ``42 s``, ``3.5 min`` or ``2.1 h``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


@as_svg
def draw(jobs: dict[str, list[dict]]) -> Figure:
    """Total minutes of each rule's jobs."""
    totals = [sum(job["seconds"] for job in listed) / 60 for listed in jobs.values()]
    figure, axes = new_figure(8.5, 0.3 * len(jobs) + 0.6)
    panel = axes[0, 0]
    panel.barh(range(len(jobs)), totals, 0.62, color=COLOURS["vision"])
    for y, total in enumerate(totals):
        panel.text(total, y, f"  {readable(60 * total)}", va="center")
    category_ticks(panel, list(jobs))
    panel.set_xlim(0, 1.12 * max(totals) or 1)
    panel.set_xlabel("minutes, all jobs of the rule together")
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
    return figure


def _table(jobs: dict[str, list[dict]]) -> Table:
    rows = []
    for rule, listed in jobs.items():
        seconds = [job["seconds"] for job in listed]
        memory = [job["memory"] for job in listed if job["memory"] is not None]
        peak = f"{max(memory):.0f}" if memory else "–"
        shown = [readable(t) for t in (sum(seconds), median(seconds), max(seconds))]
        rows.append([rule, str(len(listed)), *shown, peak])
    return Table(
        ["Rule", "Jobs", "Total", "Median", "Longest", "Peak memory (MiB)"],
        rows,
        "Wall-clock time per job as Snakemake measured it. Jobs that ran side by side are counted "
        "each in full; memory is the largest resident set seen.",
        name="runtimes",
    )


def section(results: Results) -> Section:
    """Time per rule, longest in all first."""
    title = "Run times"
    if not results.benchmarks:
        return Section("runtimes", title, "Absent: no benchmark files among the inputs.")
    ordered = sorted(
        results.benchmarks.items(), key=lambda item: (-sum(j["seconds"] for j in item[1]), item[0])
    )
    jobs = dict(ordered)
    caption = "Where the time goes, by rule (= stage of the pipeline)."
    picture = Picture(draw(jobs), caption, "Run times per rule")
    return Section("runtimes", title, "Times of the jobs that made these results.",
                   [picture, _table(jobs)])  # fmt: skip

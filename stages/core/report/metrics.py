"""Section: every continual-learning metric of every method, with intervals over seeds."""

from __future__ import annotations

from typing import Any

from stages.core.evaluation.intervals import half_width
from stages.core.evaluation.stream_metrics import FORMULAS
from stages.core.report.page import Cell, Definitions, Section, Table
from stages.core.runs.results import Results

SHOWN = 3  # missing cells written out in the table; the tooltip names all of them


def _missing(runs: list[dict], key: str, tasks: list[str]) -> list[str]:
    """Names A[t,i] of the cells that some seed lacks."""
    cells = {
        (cell["step"], tasks.index(cell["task"]) + 1)
        for run in runs
        for cell in run["metrics"][key]["missing"]
    }
    return [f"A[{step},{i}]" for step, i in sorted(cells)]


def _cell(entry: dict[str, Any], runs: list[dict], key: str, tasks: list[str]) -> Cell:
    mean, std = entry["mean"], entry["std"]
    if mean is None:
        names = _missing(runs, key, tasks)
        if not names:
            return Cell("–", "not defined for a single task", marks="missing")
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        text = f"missing: cells {', '.join(names[:SHOWN])}{more}"
        return Cell(text, f"not measured: {', '.join(names)}", marks="missing")
    seeds = "\n".join(f"seed {run['seed']}: {run['metrics'][key]['value']:.2f}" for run in runs)
    if std is None:
        return Cell(f"{mean:.2f}", seeds)
    spread = half_width(std, len(runs))
    return Cell(f"{mean:.2f} ± {spread:.2f}", f"{seeds}\nstandard deviation {std:.2f}")


def _name(results: Results, method: str) -> Cell:
    """The method, marked where people decided something of it."""
    tasks = dict.fromkeys(edit.task for edit in results.edits if edit.run == method)
    if not tasks:
        return Cell(method)
    return Cell(f"{method} †", f"rests on edits of {', '.join(tasks)}")


def section(results: Results) -> Section:
    """Table of methods and metrics, then what each metric means."""
    found = results.metrics
    # JSON keys are sorted; the formulas' own order groups what belongs together.
    keys = sorted(found["definitions"], key=[*FORMULAS, *found["definitions"]].index)
    entries = {entry["method"]: entry for entry in found["summary"]}
    rows: list[list[Cell | str]] = []
    for method in results.methods:
        runs = [run for run in found["runs"] if run["method"] == method]
        tasks, found_in = results.order(method), entries[method]["metrics"]
        cells = [_cell(found_in[key], runs, key, tasks) for key in keys]
        rows.append([_name(results, method), *cells])
    several = any(len(entry["seeds"]) > 1 for entry in entries.values())
    caption = (
        "Means over seeds ± half the 95% interval of the mean (Student's t); hover for the seeds."
        if several
        else "One seed, hence no intervals: small differences between methods mean little."
    )
    table = Table(
        ["Method", *keys],
        rows,
        f"{caption} Higher is better, save for forgetting. A metric of which a cell was not "
        "measured is missing, never computed from fewer cells.",
        name="metrics",
    )
    meanings = Definitions(
        [
            (k, found["definitions"][k]["formula"] + ".", found["definitions"][k]["used_by"])
            for k in keys
        ]
    )
    lead = (
        "A[t,i] is the score on task i after step t, of N steps; step 0 is the pretrained "
        "backbone. Papers use one name for different formulas, so each has its own key here."
    )
    return Section("metrics", "Metrics", lead, [table, meanings])

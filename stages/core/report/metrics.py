"""Section: every continual-learning metric of every method, with intervals over seeds."""

from __future__ import annotations

from typing import Any

from stages.core.evaluation.intervals import half_width
from stages.core.evaluation.stream_metrics import FORMULAS
from stages.core.report.page import Cell, Definitions, Fold, Section, Table
from stages.core.report.ranking import marks, ranked
from stages.core.runs.results import Results

SHOWN = 3  # missing cells written out in a note; the tooltip names all of them


def _missing(runs: list[dict], key: str, tasks: list[str]) -> list[str]:
    """Names A[t,i] of the cells that some seed lacks."""
    cells = {
        (cell["step"], tasks.index(cell["task"]) + 1)
        for run in runs
        for cell in run["metrics"][key]["missing"]
    }
    return [f"A[{step},{i}]" for step, i in sorted(cells)]


def _cell(entry: dict[str, Any], runs: list[dict], key: str, tasks: list[str], mark: str) -> Cell:
    mean, std = entry["mean"], entry["std"]
    if mean is None:
        names = _missing(runs, key, tasks)
        tip = f"not measured: {', '.join(names)}" if names else "not defined for a single task"
        return Cell("–", tip, marks="missing")
    seeds = "\n".join(f"seed {run['seed']}: {run['metrics'][key]['value']:.2f}" for run in runs)
    if std is None:
        return Cell(f"{mean:.2f}", seeds, marks=mark)
    spread = half_width(std, len(runs))
    return Cell(f"{mean:.2f} ± {spread:.2f}", f"{seeds}\nstandard deviation {std:.2f}", marks=mark)


def _gaps(results: Results, keys: list[str]) -> list[tuple[str, str, str]]:
    """Notes on metrics that are missing; methods that lack the same cells stand together."""
    grouped: dict[str, list[str]] = {}
    for method in results.methods:
        runs = [run for run in results.metrics["runs"] if run["method"] == method]
        lacking: dict[tuple[str, ...], list[str]] = {}
        for key in keys:
            if cells := tuple(_missing(runs, key, results.order(method))):
                lacking.setdefault(cells, []).append(key)
        if lacking:
            parts = [f"{', '.join(found)} ({_listed(cells)})" for cells, found in lacking.items()]
            text = f"Missing, as these cells were not measured: {'; '.join(parts)}."
            grouped.setdefault(text, []).append(results.label(method))
    return [(", ".join(methods), text, "") for text, methods in grouped.items()]


def _listed(cells: tuple[str, ...]) -> str:
    more = f" and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
    return ", ".join(cells[:SHOWN]) + more


def _name(results: Results, method: str) -> Cell:
    """The method, marked where people decided something of it."""
    tasks = dict.fromkeys(edit.task for edit in results.edits if edit.run == method)
    label = results.label(method)
    if not tasks:
        return Cell(label, method if label != method else "")
    return Cell(f"{label} †", f"rests on edits of {', '.join(tasks)}")


def section(results: Results) -> Section:
    """Table of methods and metrics, then what each metric means."""
    found = results.metrics
    # JSON keys are sorted; the formulas' own order groups what belongs together.
    keys = sorted(found["definitions"], key=[*FORMULAS, *found["definitions"]].index)
    entries = {entry["method"]: entry for entry in found["summary"]}
    means = {key: {m: _half(entries[m], key) for m in results.methods} for key in keys}
    found_marks = {key: marks(means[key], lowest=key == "forgetting") for key in keys}
    rows: list[list[Cell | str]] = []
    for entry in ranked(results.comparison["methods"]):
        method = entry["name"]
        runs = [run for run in found["runs"] if run["method"] == method]
        tasks, found_in = results.order(method), entries[method]["metrics"]
        cells = [
            _cell(found_in[key], runs, key, tasks, found_marks[key].get(method, "")) for key in keys
        ]
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
        f"{caption} Higher is better, save for forgetting. Bold: the best continual learner"
        + ("; underlined: those within its interval" if several else "")
        + ". A metric of which a cell was not measured is missing, never computed from fewer "
        "cells.",
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
    gaps = _gaps(results, keys)
    notes = [Definitions(gaps)] if gaps else []
    return Section("metrics", "Metrics", lead, [table, *notes, Fold("What they mean", [meanings])])


def _half(entry: dict[str, Any], key: str) -> dict[str, float | None]:
    mean, std = entry["metrics"][key]["mean"], entry["metrics"][key]["std"]
    half = None if std is None else half_width(std, len(entry["seeds"]))
    return {"mean": mean, "half_width": half}

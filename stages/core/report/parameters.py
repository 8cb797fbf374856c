"""Section: what each method trains per task, so that the comparison's fairness can be checked."""

from __future__ import annotations

from statistics import fmean

from stages.core.report.page import Fold, Note, Section, Table
from stages.core.runs.results import Results

TOLERANCE = 0.05  # methods whose mean counts differ by more are not compared without a remark


def _mean_counts(results: Results) -> dict[str, dict[str, float]]:
    """Trainable parameters by method and task, mean over seeds."""
    found: dict[str, dict[str, list[int]]] = {}
    for scope, by_task in results.trainings.items():
        for task, training in by_task.items():
            counts = found.setdefault(scope.variant, {}).setdefault(task, [])
            counts.append(training["trainable_parameters"])
    order = [name for name in results.methods if name in found]
    order += [name for name in found if name not in order]
    return {
        method: {task: fmean(counts) for task, counts in found[method].items()} for method in order
    }


def section(results: Results) -> Section:
    """Counts per method and task, with a remark when they are not comparable."""
    title = "Trainable parameters"
    counts = _mean_counts(results)
    if not counts:
        return Section("parameters", title, "Absent: no trained experts among the inputs.")
    rows = []
    for method, by_task in counts.items():
        shown = [f"{by_task[task]:,.0f}" if task in by_task else "–" for task in results.tasks]
        rows.append([results.label(method), *shown, f"{fmean(by_task.values()):,.0f}"])
    table = Table(
        ["Trained as", *map(results.task, results.tasks), "Mean"],
        rows,
        "Parameters that learn at each task, mean over seeds. A variant that changes nothing about "
        "training uses the experts of its method and has no row of its own.",
        name="parameters",
    )
    means = {method: fmean(by_task.values()) for method, by_task in counts.items()}
    least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    gap = means[most] / means[least] - 1
    verdict = (
        f"{most} trains {100 * gap:.1f}% more parameters a task than {least}: "
        "more than 5% apart, so their scores are not a comparison at equal size."
        if means[most] > (1 + TOLERANCE) * means[least]
        else f"The means lie within {100 * gap:.1f}% of each other (5% is the limit for a "
        "comparison at equal size)."
    )
    lead = "A comparison is fair only between methods that train about as many parameters."
    note = [Note(verdict)] if len(means) > 1 else []
    return Section("parameters", title, lead, [*note, Fold("By method and task", [table])])

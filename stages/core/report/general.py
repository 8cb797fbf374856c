"""Section: what learning the stream costs elsewhere, on general benchmarks (`cmit general`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from stages.core.report.page import Cell, Section, Table
from stages.core.runs.results import Results

BACKBONE = "Untouched backbone"

Metric = tuple[str, str, int, str]  # benchmark, its version, samples, metric
Values = dict[Metric, list[float]]  # one per seed


def _metrics(content: Mapping[str, Any]) -> dict[Metric, float]:
    return {
        (entry["task"], entry["version"], entry["n"], metric): value
        for entry in content["tasks"]
        for metric, value in entry["metrics"].items()
    }


def _asked(content: Mapping[str, Any], results: Results) -> str:
    """Who was asked, as a label."""
    if content["method"] == "zero_shot" or not content["step"]:
        return BACKBONE
    label = results.label(content["run"])
    whole = content["step"] == len(results.tasks)
    return label if whole else f"{label}, after {content['step']} tasks"


def _by_label(results: Results) -> dict[str, Values]:
    """Values by who was asked: the backbone first, then in the order of the methods."""
    place = {name: i for i, name in enumerate(results.methods)}
    known = sorted(results.general.items(), key=lambda item: (place.get(item[0][0], -1), item[0]))
    found: dict[str, Values] = {BACKBONE: {}}
    for _, content in known:
        mine = found.setdefault(_asked(content, results), {})
        for key, value in _metrics(content).items():
            mine.setdefault(key, []).append(value)
    return {label: values for label, values in found.items() if values}


def _cell(values: Sequence[float], untouched: Sequence[float]) -> Cell:
    """The mean over seeds, and what it is above the backbone's."""
    if not values:
        return Cell("–")
    mean = fmean(values)
    beside = f" ({mean - fmean(untouched):+.3g})" if untouched else ""
    tip = "\n".join(f"{value:.6g}" for value in values) if len(values) > 1 else ""
    return Cell(f"{mean:.4g}{beside}", tip, value=mean)


def _head(metrics: Iterable[Metric]) -> list[str]:
    return [f"{task}\n{metric.removeprefix(f'{task}_')}\nn {n}" for task, _, n, metric in metrics]


def section(results: Results) -> Section | None:
    """Benchmark by method; nothing where none was asked."""
    if not results.general:
        return None
    found = _by_label(results)
    metrics = list(dict.fromkeys(key for values in found.values() for key in values))
    untouched = found.get(BACKBONE, {})
    rows: list[list[Cell | str]] = [
        [
            label,
            str(max(map(len, values.values()))),
            *(
                _cell(values.get(key, []), [] if label == BACKBONE else untouched.get(key, []))
                for key in metrics
            ),
        ]
        for label, values in found.items()
    ]
    versions = {task: version for task, version, _, _ in metrics}
    with_ = sorted({content["lmms_eval"] for content in results.general.values()})
    caption = (
        "Scores on the scale of each benchmark, mean over seeds; in brackets what learning the "
        f"stream added to the untouched backbone. Asked and scored by lmms-eval {', '.join(with_)}"
        f"; versions: {', '.join(f'{task} {version}' for task, version in versions.items())}; "
        "n: samples."
    )
    if not untouched:
        caption += " The untouched backbone was not asked: put zero_shot among the methods."
    table = Table(["Method", "Seeds", *_head(metrics)], rows, caption, name="general")
    lead = "What learning the stream costs, or brings, elsewhere."
    return Section("general", "General benchmarks", lead, [table])

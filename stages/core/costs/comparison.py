"""What a comparison of methods says, as numbers: scores over seeds, costs, paired differences from
the reference, routing quality, run times. The content of ``comparison.json``."""

from __future__ import annotations

from dataclasses import asdict
from math import sqrt
from statistics import fmean, median, stdev
from typing import Any

from stages.core.costs.measured import comparable, costs_of, remarks
from stages.core.evaluation.intervals import half_width
from stages.core.evaluation.paired import by_sample, difference
from stages.core.evaluation.routing_quality import quality
from stages.core.runs.results import Results

KEYS = ("avg", "last", "bwt_dmole")  # metrics that are compared pairwise
PUBLISHED = {"avg": "AVG", "last": "Last", "bwt_dmole": "BWT"}  # their names in published tables
SINGLE = "reference"  # rows of the published table with one number, at the stream's end
NAMES = {
    "zero_shot": ("Zero-shot",),
    "individual": ("Finetune",),
    "joint": ("Joint-learning",),
    "seq_ft": ("Seq-FT",),
    "lwf": ("LwF-LoRA",),
    "ewc": ("EWC-LoRA",),
    "dense_mole": ("Dense MoLE", "MoELoRA"),
    "sparse_mole": ("Sparse MoLE",),
    "mola": ("MoLA",),
    "o_lora": ("O-LoRA",),
    "dmole": ("D-MoLE",),
}
"""Our names of the methods in published tables (workflow/report/published)."""


def reference_of(results: Results) -> str:
    """What the others are compared with: D-MoLE, or the first method of a run without it."""
    return "dmole" if "dmole" in results.methods else results.methods[0]


def compare_runs(results: Results) -> dict[str, Any]:
    """The content of ``comparison.json``, without provenance."""
    reference = reference_of(results)
    costs = {name: costs_of(results, name) for name in results.methods}
    noted, fair = remarks(costs, reference), comparable(costs, reference)
    return {
        "stream": results.config["stream"],
        "tasks": results.tasks,
        "seeds": results.seeds,
        "reference": reference,
        "published_from": sources(results),
        "labels": {task: results.task(task) for task in results.tasks},
        "methods": [
            {
                "name": name,
                "label": results.label(name),
                "metrics": _over_seeds(results, name),
                "last_without_captions": last_without_captions(results, name),
                "last_over_samples": last_over_samples(results, name),
                "curve": curve(results, name),
                "final_scores": final_scores(results, name),
                "costs": asdict(costs[name]),
                "published": {key: published(results, name, key) for key in KEYS},
                "remark": noted.get(name),
                "differences": _differences(results, name, reference) if name in fair else None,
                "by_sample": by_sample_of(results, name, reference),
            }
            for name in results.methods
        ],
        "routing": [_routing(results, *key) for key in results.routes],
        "run_times": _run_times(results),
    }


def _over_seeds(results: Results, name: str) -> dict[str, dict[str, float | None]]:
    """Mean of every metric over the seeds, and half of its 95 % interval (None: one seed)."""
    entry = next(e for e in results.metrics["summary"] if e["method"] == name)
    found = {}
    for key, value in entry["metrics"].items():
        spread, seeds = value["std"], len(entry["seeds"])
        half = None if spread is None else half_width(spread, seeds)
        found[key] = {"mean": value["mean"], "half_width": half}
    return found


def last_without_captions(results: Results, name: str) -> dict[str, float | None] | None:
    """``last`` over the tasks that are not scored by CIDEr, which swings more than the others: mean
    over seeds and half of the 95 % interval; None without such tasks, or without others."""
    n, metrics = len(results.tasks), {row["task"]: row["metric"] for row in results.scores}
    tasks = {task for task, metric in metrics.items() if not metric.startswith("cider")}
    by_seed: dict[int, list[float]] = {}
    for row in results.scores:
        if (row["method"], row["step"]) == (name, n) and row["task"] in tasks:
            by_seed.setdefault(row["seed"], []).append(row["value"])
    values = [fmean(scores) for scores in by_seed.values() if len(scores) == len(tasks)]
    if len(tasks) in (0, n) or not values:
        return None
    half = half_width(stdev(values), len(values)) if len(values) > 1 else None
    return {"mean": fmean(values), "half_width": half}


def curve(results: Results, name: str) -> list[dict[str, float | None]]:
    """After each step from 1, the mean score over the tasks learnt by then: its mean over seeds and
    half of the 95 % interval, None where a cell was not measured (or there is one seed)."""
    cells = {
        (row["seed"], row["step"], row["task"]): row["value"]
        for row in results.scores
        if row["method"] == name
    }
    seeds, order, found = sorted({seed for seed, _, _ in cells}), results.order(name), []
    for step in range(1, len(order) + 1):
        keys = [[(seed, step, task) for task in order[:step]] for seed in seeds]
        means = [fmean(map(cells.__getitem__, row)) for row in keys if cells.keys() >= set(row)]
        whole = len(means) == len(seeds)
        half = half_width(stdev(means), len(means)) if whole and len(means) > 1 else None
        found.append({"mean": fmean(means) if whole else None, "half_width": half})
    return found


def last_over_samples(results: Results, name: str) -> float | None:
    """Half of the 95 % interval of ``last`` over test samples, mean over seeds: what the tasks'
    intervals come to, whose samples are drawn apart; None where a cell was not measured."""
    n, halves = len(results.tasks), []
    for seed in results.seeds:
        own = [
            (row["high"] - row["low"]) / 2
            for row in results.scores
            if (row["method"], row["seed"], row["step"]) == (name, seed, n)
        ]
        if len(own) == n:
            halves.append(sqrt(sum(half**2 for half in own)) / n)
    return fmean(halves) if halves else None


def published(results: Results, name: str, key: str) -> str | None:
    """A published number for a method where the table is of the same tasks in the same order.

    Those of its references stand under ``last``, where Finetune's is of each task right after
    learning it.
    """
    if not results.published or results.tasks != published_tasks(results.published):
        return None
    wanted = {PUBLISHED[key]} | ({SINGLE} if key == "last" else set())
    found = [
        row["Average"]
        for row in results.published
        if row["method"] in NAMES.get(name, ()) and row["metric"] in wanted
    ]
    return found[0] if found else None


def sources(results: Results) -> list[str]:
    """Where the published numbers are from, each once, with what differs from this run."""
    told = (f"{row['source']}. {row['differs']}".strip() for row in results.published)
    return list(dict.fromkeys(told))


def published_tasks(table: list[dict]) -> list[str]:
    """The tasks of a published table: its columns but those that say what a row is."""
    said = ("metric", "method", "Average", "backbone", "source", "differs")
    return [name for name in table[0] if name not in said]


def final_scores(results: Results, name: str) -> dict[str, list[float]]:
    """Scores by task after the last step at which the method was measured, one per seed."""
    found: dict[str, list[float]] = {}
    for task in results.tasks:
        mine = [r for r in results.scores if (r["method"], r["task"]) == (name, task)]
        last = max((row["step"] for row in mine), default=None)
        found[task] = [row["value"] for row in mine if row["step"] == last]
    return found


def _differences(results: Results, name: str, reference: str) -> dict[str, Any] | None:
    """Of each compared metric: the method minus the reference; None for the reference itself."""
    if name == reference:
        return None
    found = {key: difference(results.metrics["runs"], name, reference, key) for key in KEYS}
    return {key: value and asdict(value) for key, value in found.items()}


def by_sample_of(results: Results, name: str, reference: str) -> dict[str, float] | None:
    """The method's scores at the end minus the reference's, by test sample of the seeds that both
    have; None for the reference itself, or where a task has a single row."""
    found = {}
    for task in results.tasks:
        mine, other = (results.last_samples.get((run, task)) for run in (name, reference))
        if name == reference or mine is None or other is None or len(mine) < 2:
            return None
        pairs = (mine - other).dropna(axis=1, how="all")
        if pairs.empty:
            return None
        found[task] = pairs.to_numpy()
    return asdict(by_sample(found))


def _routing(results: Results, name: str, seed: int) -> dict[str, Any]:
    """Routing at the last step, over the steps with tasks to come, and step by step."""
    run, tasks = results.routes[name, seed], results.order(name)
    n = len(tasks)
    return {
        "name": name,
        "seed": seed,
        "last": asdict(quality(run, tasks, [n])),
        "before": asdict(quality(run, tasks, range(1, n))),
        "steps": [
            {"task": task, **asdict(quality(run, tasks, [step]))}
            for step, task in enumerate(tasks, 1)
        ],
    }


def _run_times(results: Results) -> list[dict[str, Any]]:
    """Seconds and memory by rule, longest in all first."""
    found = []
    for rule, jobs in results.benchmarks.items():
        seconds = [job["seconds"] for job in jobs]
        memory = [job["memory"] for job in jobs if job["memory"] is not None]
        found.append(
            {
                "rule": rule,
                "jobs": len(jobs),
                "total": sum(seconds),
                "median": median(seconds),
                "longest": max(seconds),
                "peak_mib": max(memory, default=None),
            }
        )
    return sorted(found, key=lambda entry: (-entry["total"], entry["rule"]))

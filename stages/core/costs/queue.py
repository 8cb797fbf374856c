"""How many SLURM jobs a run is, and what waiting for them costs."""

from __future__ import annotations

from typing import Any

from stages.core.runs.runs import STAGE_KEYS, Runs

# Rules that are no jobs, nor is report.
LOCAL = ("allocate_experts", "choose_parent", "route_samples", "score", "sample_subset")


def jobs(runs: Runs, wait: float) -> dict[str, Any]:
    """SLURM jobs by rule, of all methods and seeds, and what waiting for them costs in minutes.

    The longest chain is that of a run whose experts all wait for the one before; with D-MoLE,
    parents may make it shorter.
    """
    config = runs.config
    tasks, names = config["tasks"], config["methods"]
    counts = {"prepare_data": 2 * len(tasks)}
    for stage in STAGE_KEYS:
        if stage not in LOCAL:
            counts[stage] = len(_places(runs, stage))
    routed = {runs.features_owner(name) for name in names if runs.needs(name, "router")}
    counts["extract_features"] += len(routed) * len(tasks)  # of the test rows
    counts = {stage: count for stage, count in counts.items() if count}
    chain = max(_chain(runs, name) for name in names)
    return {
        "by_rule": counts,
        "total": sum(counts.values()),
        "longest_chain": chain,
        "minutes_each": wait,
        "waiting_in_all": wait * sum(counts.values()),
        "waiting_on_longest_chain": wait * chain,
    }


def _places(runs: Runs, stage: str) -> set[tuple[str, str]]:
    """(scope, task) of every job of a stage."""
    return {
        (runs.scope(stage, f"seed{seed}/{name}"), task)
        for seed in runs.config["seeds"]
        for name in runs.config["methods"]
        if stage != "extract_features" or runs.needs(name, "router") or runs.has_transfer(name)
        for task in runs.tasks_of(stage, name)
    }


def _chain(runs: Runs, name: str) -> int:
    """prepare_data, then extract_features and fit_router where there is routing, one training after
    the other, predict."""
    method, tasks = runs.method(name), runs.config["tasks"]
    trained = len(method.trained_tasks(tasks))
    follows = len(tasks) > 1 and method.starts_from(tasks[1], tasks, None)
    waits = runs.has_transfer(name) or bool(follows)
    before = 2 if runs.has_transfer(name) or runs.needs(name, "router") else 0
    return 2 + before + (trained if waits else min(trained, 1))

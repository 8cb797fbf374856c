"""How many SLURM jobs a run is, and what waiting for them costs."""

from __future__ import annotations

from typing import Any

from stages.core.scopes import STAGE_KEYS, Plan

# Rules that are no jobs, nor is report.
LOCAL = ("allocate_experts", "choose_parent", "route_samples", "score", "sample_subset")


def jobs(plan: Plan, wait: float) -> dict[str, Any]:
    """SLURM jobs by rule, of all methods and seeds, and what waiting for them costs in minutes.

    The longest chain is that of a run whose experts all wait for the one before; with D-MoLE,
    parents may make it shorter.
    """
    config = plan.config
    tasks, names = config["tasks"], config["methods"]
    counts = {"prepare_data": 2 * len(tasks)}
    for stage in STAGE_KEYS:
        if stage not in LOCAL:
            counts[stage] = len(_places(plan, stage))
    routed = {plan.features_owner(name) for name in names if plan.needs(name, "router")}
    counts["extract_features"] += len(routed) * len(tasks)  # of the test rows
    counts = {stage: count for stage, count in counts.items() if count}
    chain = max(_chain(plan, name) for name in names)
    return {
        "by_rule": counts,
        "total": sum(counts.values()),
        "longest_chain": chain,
        "minutes_each": wait,
        "waiting_in_all": wait * sum(counts.values()),
        "waiting_on_longest_chain": wait * chain,
    }


def _places(plan: Plan, stage: str) -> set[tuple[str, str]]:
    """(scope, task) of every job of a stage."""
    return {
        (plan.scope(stage, f"seed{seed}/{name}"), task)
        for seed in plan.config["seeds"]
        for name in plan.config["methods"]
        if stage != "extract_features" or plan.needs(name, "router") or plan.has_transfer(name)
        for task in plan.tasks_of(stage, name)
    }


def _chain(plan: Plan, name: str) -> int:
    """prepare_data, then extract_features and fit_router where there is routing, one training after
    the other, predict."""
    method, tasks = plan.method(name), plan.config["tasks"]
    trained = len(method.trained_tasks(tasks))
    follows = len(tasks) > 1 and method.starts_from(tasks[1], tasks, None)
    waits = plan.has_transfer(name) or bool(follows)
    before = 2 if plan.has_transfer(name) or plan.needs(name, "router") else 0
    return 2 + before + (trained if waits else min(trained, 1))

"""How many SLURM jobs a run is, and what waiting for them costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from stages.core.costs.shards import shards
from stages.core.runs.runs import Runs, split_scope
from stages.core.runs.stage_table import STAGES, rule_of


def jobs(runs: Runs, wait: float) -> dict[str, Any]:
    """SLURM jobs by rule, of all methods and seeds, and what waiting for them costs in minutes.

    The longest chain is that of a run whose experts all wait for the one before; with D-MoLE,
    parents may make it shorter.
    """
    made = {(m.stage, m.scope, m.artefact, m.task) for m in runs.made}
    first = {stage: next(iter(entry.writes)) for stage, entry in STAGES.items()}
    counts = Counter(
        rule_of(stage)
        for stage, _, name, _ in sorted(made)
        if not STAGES[stage].local and (name == first[stage] or stage == "prepare_data")
    )
    for stage, scope, _, task in made:
        if stage.startswith("predict"):
            number = shards(runs, stage, split_scope(scope)[1], task)
            counts[f"{stage}_shard"] += number if number > 1 else 0
    order = [name for rule in map(rule_of, STAGES) for name in (rule, f"{rule}_shard")]
    chain = max(_chain(runs, name) for name in runs.config["methods"])
    return {
        "by_rule": {rule: counts[rule] for rule in order if counts[rule]},
        "total": counts.total(),
        "longest_chain": chain,
        "minutes_each": wait,
        "waiting_in_all": wait * counts.total(),
        "waiting_on_longest_chain": wait * chain,
    }


def _chain(runs: Runs, name: str) -> int:
    """prepare_data, then extract_features and fit_router where there is routing, one training after
    the other, the shards of answers if there are any, predict."""
    trained = len(runs.method(name).trained_tasks(runs.config["tasks"]))
    before = 2 if runs.has_transfer(name) or runs.needs(name, "router") else 0
    divided = any(shards(runs, "predict", name, task) > 1 for task in runs.config["tasks"])
    return 2 + divided + before + (trained if learns_in_turn(runs, name) else min(trained, 1))


def learns_in_turn(runs: Runs, name: str) -> bool:
    """Whether a run's trainings may all wait for the one before."""
    method, tasks = runs.method(name), runs.config["tasks"]
    follows = len(tasks) > 1 and method.starts_from(tasks[1], tasks, None)
    return runs.has_transfer(name) or bool(follows)

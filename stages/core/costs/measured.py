"""What each method of a run trains, keeps and needs: the other half of a comparison of scores."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from stages.core.runs.results import Results, Scope
from stages.core.runs.runs import Runs
from stages.methods.base import Method

TOLERANCE = 0.05  # counts further apart are no comparison at equal size
PREPARATION = ("profile_gradients", "extract_features", "fit_router")


@dataclass(frozen=True)
class MethodCosts:
    """Of one method or variant, means over seeds; None where the inputs do not say."""

    per_task: float | None  # parameters that learn at a task, mean over tasks
    in_all: float | None  # the same, summed over the tasks
    stored: float | None  # parameters kept after the last task, routers included
    training: float | None  # seconds, all training jobs of a seed
    preparation: float | None  # seconds, profiles, features and routers of a seed
    knows_task: bool | None
    earlier_data: str | None
    reason: str  # why its size is its own; empty: it should be that of the others


def costs_of(results: Results, name: str) -> MethodCosts:
    """The costs of a method or variant of the run."""
    runs = Runs(results.config)
    if name not in runs.methods:  # scores of something that this project did not train
        return MethodCosts(
            None, None, None, None, None, None, None, "Not a method of this project."
        )
    method, variant = runs.method(name), name in results.config["variants"]
    if not method.trained_tasks(results.tasks):
        return MethodCosts(
            0, 0, 0, 0, 0, method.knows_task, method.earlier_data, "It trains nothing."
        )
    counts = _counts(results, runs, name)
    return MethodCosts(
        _mean([fmean(by_task.values()) for by_task in counts]),
        _mean([sum(by_task.values()) for by_task in counts]),
        _stored(results, runs, name),
        _seconds(results, runs, name, "train_expert"),
        _preparation(results, runs, name),
        method.knows_task,
        method.earlier_data,
        method.off_budget or _reason(runs, name, variant),
    )


def _reason(runs: Runs, name: str, variant: bool) -> str:
    """Why a run that could have the others' size may have another."""
    if variant:
        return "Its own switches decide its size."
    tasks = runs.tasks(name)
    goes_on = runs.method(name).starts_from(tasks[-1], tasks, None)
    if goes_on and runs.matches_allocations(name):
        return "What it trains on through the stream has the size of D-MoLE's first expert."
    return ""


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _scopes(results: Results, runs: Runs, stage: str, name: str) -> list[Scope]:
    """Where the artefacts of a stage are that a run uses, one scope per seed."""
    owner = runs.owner(stage, name)
    return [Scope(seed, owner) for seed in results.seeds]


def _counts(results: Results, runs: Runs, name: str) -> list[dict[str, int]]:
    """Trainable parameters by task, one mapping per seed."""
    return [
        {task: found["trainable_parameters"] for task, found in results.trainings[scope].items()}
        for scope in _scopes(results, runs, "train_expert", name)
        if scope in results.trainings
    ]


def kept_states(method: Method, tasks: list[str]) -> list[str]:
    """Tasks whose saved states must be there once the stream has ended."""
    if method.routing == "threshold":
        return tasks
    if method.cumulative:
        return tasks[-1:]
    named = set()
    for task in tasks:
        cells = (method.active(step, task, tasks) for step in range(len(tasks), 0, -1))
        named.update(next(cell for cell in cells if cell is not None))
    return [task for task in tasks if task in named]


def _stored(results: Results, runs: Runs, name: str) -> float | None:
    method = runs.method(name)
    states = kept_states(method, runs.tasks(name))
    totals = []
    for scope in _scopes(results, runs, "train_expert", name):
        found = [results.trainings.get(scope, {}).get(task, {}) for task in states]
        if all("stored_parameters" in training for training in found):
            totals.append(sum(training["stored_parameters"] for training in found))
    routers = _router_weights(results, runs, name) if runs.needs(name, "router") else 0.0
    return None if not totals or routers is None else fmean(totals) + routers


def _router_weights(results: Results, runs: Runs, name: str) -> float | None:
    """Numbers that all tasks' routers hold, mean over seeds."""
    found = [
        sum(router["numbers"] for router in results.routers[scope].values())
        for scope in _scopes(results, runs, "fit_router", name)
        if scope in results.routers
    ]
    return _mean(found)


def _seconds(results: Results, runs: Runs, name: str, stage: str) -> float | None:
    """Wall-clock time of a stage's jobs, all tasks of a seed; None without benchmark files."""
    scopes = _scopes(results, runs, stage, name)
    by_seed: dict[Scope, float] = {}
    for job in results.benchmarks.get(stage, []):
        if job.get("scope") in scopes:
            by_seed[job["scope"]] = by_seed.get(job["scope"], 0.0) + job["seconds"]
    return _mean(list(by_seed.values()))


def _preparation(results: Results, runs: Runs, name: str) -> float | None:
    needed = {"profile_gradients": "allocation", "extract_features": "router"}
    needed |= {"fit_router": "router"}
    stages = [stage for stage in PREPARATION if runs.needs(name, needed[stage])]
    times = [_seconds(results, runs, name, stage) for stage in stages]
    known = [time for time in times if time is not None]
    return sum(known) if len(known) == len(times) else None


def remarks(costs: dict[str, MethodCosts], reference: str) -> dict[str, str]:
    """For methods whose trainable parameters are more than 5 % off the reference's: the reason.

    A method that trains nothing has no remark.
    """
    wanted, found = costs[reference].per_task, {}
    if not wanted:
        return {}
    for name, cost in costs.items():
        if cost.per_task and abs(cost.per_task / wanted - 1) > TOLERANCE:
            gap = f"{100 * (cost.per_task / wanted - 1):+.0f} % trainable parameters a task"
            found[name] = f"{gap}. {cost.reason or UNEXPLAINED}"
    return found


UNEXPLAINED = (
    "That is no comparison at equal size, so differences are not shown. With match_size: "
    "allocations, ranks are solved from D-MoLE's count."
)


def comparable(costs: dict[str, MethodCosts], reference: str) -> set[str]:
    """Methods of the reference's size, or with a stated reason for another."""
    return {name for name in costs if name not in remarks(costs, reference) or costs[name].reason}

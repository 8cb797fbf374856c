"""When a run will be done: the plan's sizes of jobs, corrected by what finished jobs took."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.base.errors import InputError
from stages.core.costs.estimate import Forecast, Machine
from stages.core.costs.gpus import GPUS
from stages.core.costs.workload import Ruler, Workload, described
from stages.core.runs.job_states import JobState
from stages.core.runs.run_jobs import RunJob
from stages.core.runs.run_place import RunPlace
from stages.core.runs.runs import split_scope
from stages.core.runs.stage_table import STAGES
from stages.core.training.progress import read_progress

Sizes = dict[tuple[str, str], float]  # of a rule's job for a task, in the plan's GPU-hours


@dataclass(frozen=True)
class Outlook:
    """What is left of a run."""

    seconds: float  # of computing, as far as it can be told
    unknown: int  # jobs of rules of which none has finished yet
    until_done: float | None  # seconds of the clock; None: nothing can be told yet


def planned_sizes(place: RunPlace) -> Sizes:
    """GPU-hours by rule and task as ``cmit plan`` counts them for D-MoLE; on which GPU does not
    matter, since they are corrected. Empty where the plan lacks something."""
    from stages.core.backbone.architecture import locate, read_architecture

    config, found = place.runs.config, {}
    with suppress(InputError):
        arch, family = read_architecture(locate(config["backbone"]["path"]), config["backbone"])
        machine = Machine("a100", GPUS["a100"], 1, 1.0)
        forecast, ruler = Forecast(place.runs, "dmole", arch, machine), Ruler(family, None)
        for task in config["tasks"]:
            train, test = (_workload(place, task, split, ruler) for split in ("train", "test"))
            for stage, cost in forecast.task(task, train, test)["stages"].items():
                found[stage, task] = cost["gpu_hours"]
    return found


def _workload(place: RunPlace, task: str, split: str, ruler: Ruler) -> Workload:
    """Rows as counted, sizes as the manifest describes them: no row is read."""
    import pyarrow.parquet as pq

    manifest = place.runs.manifest(task)
    prepared, entry = place.root / "data" / task / f"{split}.parquet", manifest.content[split]
    rows = pq.read_metadata(prepared).num_rows if prepared.is_file() else entry.get("rows")
    if not rows:
        raise InputError(f"{manifest.path}: {split}: nothing is known of its rows.")
    limit = place.runs.row_limit(split) or rows
    return Workload(min(rows, limit), "counted", **ruler.typical(described(manifest, split)))


def running_trainings(place: RunPlace, states: list[JobState]) -> dict[str, dict[str, Any]]:
    """What running trainings last said, by the name of the job; the time that has passed since is
    taken off ``seconds_left``."""
    found = {}
    for state in states:
        job = state.job
        if state.state == "running" and job.stage == "train_expert":
            said = read_progress(place.root / job.scope / "checkpoints" / job.task)
            if "seconds_left" in said:
                passed = time.time() - said["written"]
                said["seconds_left"] = max(0.0, said["seconds_left"] - passed)
            found[job.name] = said
    return found


def outlook(
    place: RunPlace,
    states: list[JobState],
    trainings: dict[str, dict[str, Any]],
    at_once: int | None = None,
) -> Outlook:
    """What is left of a run.

    Args:
        trainings: of :func:`running_trainings`.
        at_once: jobs that will run at a time; None: as many as run now.
    """
    spent = {s.job: measured_seconds(place.root / s.job.benchmark) for s in _done(states)}
    measured = {job: seconds for job, seconds in spent.items() if seconds is not None}
    left_over = any(state.state != "done" for state in states)
    sizes = planned_sizes(place) if measured and left_over else {}
    rates = _rates(measured, sizes)
    seconds, unknown = 0.0, 0
    chains: dict[str, float] = defaultdict(float)  # of trainings, by scope
    for state in states:
        job = state.job
        if state.state == "done" or STAGES[job.stage].local:
            continue
        rate = rates.get((job.rule, split_scope(job.scope)[1])) or rates.get((job.rule, None))
        known = trainings.get(job.name, {}).get("seconds_left")
        left = known if known is not None else rate and rate * sizes.get(_key(job), 1.0)
        if left is None:
            unknown += 1
            continue
        seconds += left
        if job.stage == "train_expert" and _one_after_the_other(place, job):
            chains[job.scope] += left
    running = at_once or sum(state.state == "running" for state in states)
    longest = max(chains.values(), default=0.0)
    known_at_all = seconds or not unknown
    return Outlook(
        seconds, unknown, max(seconds / max(running, 1), longest) if known_at_all else None
    )


def _key(job: RunJob) -> tuple[str, str]:
    return job.rule, job.task


def _done(states: list[JobState]) -> list[JobState]:
    return [state for state in states if state.state == "done"]


def _rates(measured: dict[RunJob, float], sizes: Sizes) -> dict[tuple[str, str | None], float]:
    """Seconds per planned GPU-hour (per job where there is no plan) by rule and run; a rule's mean
    over all runs under None."""
    spent: dict[tuple[str, str | None], float] = defaultdict(float)
    planned: dict[tuple[str, str | None], float] = defaultdict(float)
    for job, seconds in measured.items():
        for run in (split_scope(job.scope)[1], None):
            spent[job.rule, run] += seconds
            planned[job.rule, run] += sizes.get(_key(job), 1.0)
    return {key: spent[key] / planned[key] for key in spent if planned[key]}


def measured_seconds(benchmark: Path) -> float | None:
    """What Snakemake measured of a job; None where it did not, or the file is damaged."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        rows = csv.DictReader(benchmark.read_text().splitlines(), delimiter="\t")
        return float(list(rows)[-1]["s"])
    return None


def _one_after_the_other(place: RunPlace, job: RunJob) -> bool:
    """Whether a run's trainings wait for each other; with D-MoLE parents may shorten the chain."""
    run = split_scope(job.scope)[1]
    tasks, method = place.runs.tasks(run), place.runs.method(run)
    follows = len(tasks) > 1 and bool(method.starts_from(tasks[1], tasks, None))
    return follows or place.runs.has_transfer(run)


def duration(seconds: float) -> str:
    """Hours and minutes, or seconds below two minutes."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"

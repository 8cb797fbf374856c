"""How far each job of a run is, from its files, its log and what is going on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.core.base.cli import printable
from stages.core.runs.active import Active, SlurmJob, find_active, marked
from stages.core.runs.run_jobs import RunJob
from stages.core.runs.run_place import RunPlace

STATES = ("done", "running", "pending", "stopped", "waiting")
ENDING = 4096  # bytes of a log's end that are looked at
QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")


@dataclass(frozen=True)
class JobState:
    """A job and its state. ``done``: its files are there (whether an edit made them out of date
    knows Snakemake alone); ``pending``: in SLURM's queue; ``stopped``: it has begun and is not
    going on; ``waiting``: not submitted."""

    job: RunJob
    state: str
    active: Active | None = None
    said: str = ""  # the last line of the log of a stopped job


def job_states(place: RunPlace, queue: list[SlurmJob]) -> list[JobState]:
    """The states of all jobs of a run.

    Args:
        queue: the user's SLURM jobs.
    """
    going_on = find_active(place.jobs, place.root, place.directory, queue)
    unfinished = {str(file) for file in marked(place.directory)}
    return [_state(job, place.root, going_on.get(job, []), unfinished) for job in place.jobs]


def _state(job: RunJob, root: Path, active: list[Active], unfinished: set[str]) -> JobState:
    for one in active:
        if one.state not in QUEUED:
            return JobState(job, "running", one)
    if active:
        return JobState(job, "pending", active[0])
    outputs = [(root / file).resolve() for file in job.outputs]
    if all(file.exists() and str(file) not in unfinished for file in outputs):
        return JobState(job, "done")
    if (root / job.log).is_file():
        return JobState(job, "stopped", said=last_line(root / job.log))
    return JobState(job, "waiting")


def last_line(log: Path) -> str:
    """The last line of a log that says something; a bar of progress counts as one line."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - ENDING))
        text = handle.read().decode(errors="replace")
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return printable(lines[-1].strip()) if lines else ""

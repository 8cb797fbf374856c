"""Show how far a run is: jobs, what runs, what waits for SLURM, and when it will be done.

Reads   the run sheet or configuration, the results, logs, what trainings say of themselves, and
        squeue where there is one; Snakemake need not be running
Writes  nothing; prints tables, or with --json the same as JSON

    cmit status results/pocket
    cmit status workflow/config/cmit.yaml --json
    watch -n 60 cmit status cmit

Call it where Snakemake was started, or with the same --directory. "done" means that a job's
files are there; what an edit made out of date says `snakemake -n`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import cli
from stages.core.base.errors import InputError
from stages.core.costs.outlook import duration, outlook, running_trainings
from stages.core.runs.active import SlurmJob, slurm_jobs, snakemakes
from stages.core.runs.job_states import STATES, JobState, job_states
from stages.core.runs.run_place import RunPlace, find_place

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 15  # jobs of a state that are listed; --json has all
GIB = 2**30


def status(place: RunPlace) -> dict[str, Any]:
    """All that ``cmit status`` says of a run, as JSON can hold it."""
    queue, fault = _queue()
    states = job_states(place, queue)
    trainings = running_trainings(place, states)
    left = outlook(place, states, trainings)
    return {
        "stream": place.runs.config["stream"],
        "results": str(place.root),
        "snakemake": [process.id for process in snakemakes(place.directory)],
        "locked": any((place.directory / ".snakemake/locks").glob("*.lock")),
        "slurm": fault,
        "jobs": dict(Counter(state.state for state in states)),
        "left": asdict(left),
        "rules": _by_rule(states),
        "running": [_shown(s) | trainings.get(s.job.name, {}) for s in _in(states, "running")],
        "pending": [_shown(s) for s in _in(states, "pending")],
        "stopped": [
            _shown(s) | {"said": s.said, "log": str(place.root / s.job.log)}
            for s in _in(states, "stopped")
        ],
    }


def _queue() -> tuple[list[SlurmJob], str]:
    """The user's SLURM jobs, and what is wrong if SLURM does not answer."""
    try:
        return slurm_jobs(), ""
    except InputError as error:
        return [], str(error)


def _in(states: list[JobState], name: str) -> Iterator[JobState]:
    return (state for state in states if state.state == name)


def _by_rule(states: list[JobState]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for state in states:
        found.setdefault(state.job.rule, Counter())[state.state] += 1
    return {rule: {name: counts[name] for name in STATES} for rule, counts in found.items()}


def _shown(state: JobState) -> dict[str, Any]:
    active = state.active
    found = {"job": state.job.name}
    if active:
        found |= {"where": active.where, "state": active.state, "reason": active.reason}
    if isinstance(active, SlurmJob):
        found |= {"slurm_job": active.id, "elapsed": active.elapsed}
    return found


# --- for people -----------------------------------------------------------------------------------


def lines(found: dict[str, Any]) -> Iterator[RenderableType]:
    """The same for a terminal."""
    from rich.text import Text

    from stages.tools.display import STRONG, table

    yield Text(summary(found), STRONG)
    if found["jobs"].get("done") != sum(found["jobs"].values()):
        yield remaining(found["left"])
    yield _snakemake(found)
    if found["slurm"]:
        yield f"SLURM's queue is not known: {found['slurm']}"
    made = table("rule", *STATES)
    for rule, counts in found["rules"].items():
        made.add_row(rule, *(str(counts[name]) if counts[name] else "·" for name in STATES))
    yield made
    if found["running"]:
        made = table("running", "where", "step", "of", "loss", "samples/s", "left", "GPU GiB")
        for job in found["running"][:SHOWN]:
            made.add_row(job["job"], job["where"], *_training_cells(job))
        yield made
    if found["pending"]:
        made = table("pending", "where", "state", "reason", left=4)
        for job in found["pending"][:SHOWN]:
            made.add_row(job["job"], job["where"], job["state"], job["reason"])
        yield made
    if found["stopped"]:
        made = table("stopped", "last line of its log", "log", left=3)
        for job in found["stopped"][:SHOWN]:
            made.add_row(job["job"], job["said"], job["log"])
        yield made
    for name in ("running", "pending", "stopped"):
        if len(found[name]) > SHOWN:
            yield f"{len(found[name]) - SHOWN} more {name} jobs; --json lists them"


def summary(found: dict[str, Any]) -> str:
    """One line: how many jobs are in which state."""
    jobs = found["jobs"]
    others = ", ".join(f"{jobs[name]} {name}" for name in STATES[1:] if jobs.get(name))
    line = f"{found['stream']}: {jobs.get('done', 0)} of {sum(jobs.values())} jobs done"
    return f"{line}; {others}" if others else line


def remaining(left: dict[str, Any]) -> str:
    """One line: what is left, and when it will be done."""
    if left["until_done"] is None:
        return f"{left['unknown']} jobs left; how long they take is known once some are done"
    more = f", without {left['unknown']} jobs of rules of which none has finished yet"
    text = f"left: {duration(left['seconds'])} of computing{more if left['unknown'] else ''}"
    return f"{text}; done in about {duration(left['until_done'])} with as many jobs as run now"


def _snakemake(found: dict[str, Any]) -> str:
    if found["snakemake"]:
        numbers = ", ".join(map(str, found["snakemake"]))
        return f"Snakemake runs here (process {numbers})"
    if found["locked"]:
        return (
            "Snakemake does not run on this machine, but its lock is there: it runs elsewhere, "
            "or was killed (then: snakemake --unlock)"
        )
    return "Snakemake does not run"


def _training_cells(job: dict[str, Any]) -> list[str]:
    if "step" not in job:
        return ["·"] * 6
    memory = job["gpu_memory"]
    return [
        f"{job['step']:,}",
        f"{job['steps']:,}" + (f", phase {job['phase']}" if job["phase"] > 1 else ""),
        f"{job['loss']:.4g}",
        f"{job['samples_per_second']:.3g}",
        duration(job["seconds_left"]),
        f"{memory / GIB:.1f}" if memory else "·",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="a results folder, or a configuration")
    parser.add_argument("--directory", type=Path, default=Path(), help="where Snakemake runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    found = status(find_place(args.run, args.directory))
    if args.json:
        print(json.dumps(found, indent=2))
        return

    from stages.tools.display import console

    out = console()
    for item in lines(found):
        out.print(item)


if __name__ == "__main__":
    cli.run(main)

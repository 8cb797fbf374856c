"""Stop a run: Snakemake, its SLURM jobs and its processes on this machine.

Works whatever happened to Snakemake. What trainings and predictions have done so far is kept, and
the same snakemake command goes on from there.

    cmit cancel results/pocket
    cmit cancel workflow/config/cmit.yaml --yes

Call it where Snakemake was started, or with the same --directory. A Snakemake on another machine is
not seen: end it there first, or it submits cancelled jobs again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from stages.core.base import cli
from stages.core.base.config import schema
from stages.core.base.errors import InputError
from stages.core.base.yaml_files import read_yaml
from stages.core.runs.active import Process, SlurmJob, call, find_active, slurm_jobs, snakemakes
from stages.core.runs.run_place import RunPlace, find_place

PATIENCE = 30.0  # seconds that Snakemake, then jobs and processes have to end
AT_ONCE = 200  # jobs of one scancel
DEFAULT = "workflow/config/pocket.yaml"  # of the Snakefile


def going_on(place: RunPlace) -> dict[str, list[SlurmJob | Process]]:
    """What is going on of each job of a run, by the job's name."""
    found = find_active(place.jobs, place.root, place.directory, slurm_jobs())
    return {job.name: active for job, active in found.items()}


def snakemakes_of(place: RunPlace) -> list[Process]:
    """The Snakemakes of this machine whose configuration has the run's results."""
    return [p for p in snakemakes(place.directory) if _results(p) == place.root.resolve()]


def _results(process: Process) -> Path:
    """The stream's folder of a Snakemake, by its command line."""
    config, here = {}, Path(process.directory)
    files = [*_values(process.command, "--configfile"), *_values(process.command, "--configfiles")]
    for file in files or [DEFAULT]:
        with suppress(InputError):  # deleted since, or another workflow's
            config |= read_yaml(here / file) or {}
    config |= dict(
        word.split("=", 1) for word in _values(process.command, "--config") if "=" in word
    )
    output = config.get("output", schema("config")["properties"]["output"]["default"])
    return (here / str(output) / str(config.get("stream", ""))).resolve()


def _values(words: Sequence[str], flag: str) -> Iterator[str]:
    """What follows a flag, up to the next one."""
    inside = False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            inside = name == flag
            if inside and equals:
                yield value
        elif inside:
            yield word


def cancel(place: RunPlace) -> list[str]:
    """End all of it, Snakemake first, or it would submit the jobs again; what was done, a line
    each.

    Raises:
        InputError: SLURM does not answer, or refuses.
    """
    done = []
    for process in snakemakes_of(place):
        done.append(_end_snakemake(process))
    active = [one for several in going_on(place).values() for one in several]
    numbers = [one.id for one in active if isinstance(one, SlurmJob)]
    for start in range(0, len(numbers), AT_ONCE):
        call("scancel", *numbers[start : start + AT_ONCE])
    if numbers:
        done.append(f"cancelled SLURM jobs {', '.join(numbers)}")
    processes = [one.id for one in active if isinstance(one, Process)]
    for number in processes:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGTERM)
    if processes:
        done.append(f"told processes {', '.join(map(str, processes))} to save and end")
    left = _wait_for_all(place)
    done += [
        f"still there: {one.where} ({name})" for name, several in left.items() for one in several
    ]
    if any((place.directory / ".snakemake/locks").glob("*.lock")) and not snakemakes(
        place.directory
    ):
        done.append("Snakemake's lock is still there: snakemake --unlock with the same options")
    return done


def _end_snakemake(process: Process) -> str:
    """Interrupt a Snakemake as Ctrl-C does, and kill it if it does not end."""
    os.kill(process.id, signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not _lives(process):
            return f"ended Snakemake, {process.where}"
        time.sleep(0.2)
    with suppress(ProcessLookupError):
        os.kill(process.id, signal.SIGKILL)
    return f"killed Snakemake, {process.where}, which did not end in {PATIENCE:g} s"


def _lives(process: Process) -> bool:
    """Whether the process is there, and no dead one that its parent has not noticed."""
    with suppress(OSError):
        state = Path(f"/proc/{process.id}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def _wait_for_all(place: RunPlace) -> dict[str, list[SlurmJob | Process]]:
    """What is still going on when nothing is left or the patience is over."""
    deadline, pause = time.monotonic() + PATIENCE, 0.5
    while (left := going_on(place)) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, 5.0)
    return left


def _listed(place: RunPlace, found: dict[str, list[SlurmJob | Process]]) -> Iterable[str]:
    mine = snakemakes_of(place)
    yield from (f"Snakemake, {process.where}" for process in mine)
    for process in snakemakes(place.directory):
        if process not in mine:
            yield (
                f"(stays: Snakemake, {process.where}, of another configuration; if it makes these "
                "results, end it first, or it submits cancelled jobs again)"
            )
    for name, several in found.items():
        yield from (f"{name}: {one.where}, {one.state}" for one in several)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="a results folder, or a configuration")
    parser.add_argument("--directory", type=Path, default=Path(), help="where Snakemake runs")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    place = find_place(args.run, args.directory)
    found = going_on(place)
    if not found and not snakemakes_of(place):
        print(f"{place.root}: nothing is going on")
        return
    print("\n".join(_listed(place, found)))
    if not args.yes:
        if not sys.stdin.isatty():
            raise InputError("nothing was cancelled; to cancel all of this, add --yes.")
        if input("Cancel all of this? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was cancelled")
            return
    print("\n".join(cancel(place)))


if __name__ == "__main__":
    cli.run(main)

"""Accept results that were copied here: what is up to date by its content does not run again.

A folder that was copied has new times, and without its `.snakemake` no record of how it was made,
so Snakemake would make all of it again. Every artefact says what it was made from: hashes of its
inputs, settings, seed, code. Where all of it fits the files that are here, it is marked as up to
date (`snakemake --touch`); the rest is listed, with the flag by which the next run makes it again;
without a record, Snakemake would not see that it does not fit.

    cmit adopt workflow/config/cmit.yaml
    cmit adopt results/pocket --dry-run

Name the configuration that you will run, or a results folder, whose run sheet has its
configuration. The backbone must be here. Library versions are not compared; a run names them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import yaml

from stages.core.base import cli
from stages.core.base.config import CLONE, find_config
from stages.core.base.errors import InputError
from stages.core.runs.adoption import RESTS_ON, Adoption
from stages.core.runs.run_jobs import RunJob
from stages.core.runs.run_place import RunPlace, find_place

SHOWN = 10  # misfits of a kind that are listed


def as_target(place: RunPlace, file: str) -> str:
    """A file of the results as Snakemake names it."""
    root = os.path.relpath(place.root, place.directory)
    return f"{place.root if root.startswith('..') else root}/{file}"


def touch(place: RunPlace, config: Path, files: list[str]) -> None:
    """Let Snakemake record files as up to date, with those that they are made from.

    Raises:
        InputError: Snakemake refused; says what it said.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CLONE / "Snakefile")]
    command += ["--directory", str(place.directory), "--cores", "1", "--touch", "--forceall"]
    command += [*files, "--quiet", "all", "--configfile", str(config.resolve())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        said = [line.strip() for line in text.splitlines() if "error" in line.lower()]
        raise InputError(f"snakemake --touch: {said[0] if said else text}")


def configuration(text: str, place: RunPlace, folder: Path) -> Path:
    """The configuration that was named, or a file of that of the run sheet."""
    if not Path(text).is_dir() and Path(text).suffix != ".json":
        return find_config(text)
    output = os.path.relpath(place.runs.config["output"], place.directory)
    content = place.runs.config | ({} if output.startswith("..") else {"output": output})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="a configuration, or a results folder")
    parser.add_argument("--directory", type=Path, default=Path(), help="where Snakemake runs")
    parser.add_argument("--dry-run", action="store_true", help="only say what fits")
    args = parser.parse_args(argv)
    place = find_place(args.run, args.directory)
    faults = Adoption(place).faults
    sound = [job for job in place.jobs if job not in faults]
    for name, count in Counter(job.rule for job in sound).items():
        print(f"fits: {count} of {name}")
    for job, fault in list(faults.items())[:SHOWN]:
        print(f"left: {job.name}: {fault}")
    if len(faults) > SHOWN:
        print(f"left: {len(faults) - SHOWN} more")
    if sound and not args.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            config = configuration(args.run, place, Path(folder))
            touch(place, config, [as_target(place, f) for job in sound for f in job.outputs])
        print(f"{len(sound)} of {len(place.jobs)} jobs are up to date")
    if again := [as_target(place, job.outputs[0]) for job in faults if _begins(place, faults, job)]:
        print(f"to make the rest again: snakemake --forcerun {' '.join(again)} and your options")


def _begins(place: RunPlace, faults: dict[RunJob, str], job: RunJob) -> bool:
    """Whether a job has files and does not fit by itself: the others follow from these."""
    there = (place.root / job.outputs[0]).exists()
    return there and not faults[job].startswith(RESTS_ON)


if __name__ == "__main__":
    cli.run(main)

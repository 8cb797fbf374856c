"""What of a run is going on right now, whoever started it and whether Snakemake still lives: SLURM
jobs, and processes of this machine.

A SLURM job belongs to a run if Snakemake noted its number beside one of the run's files (it does so
when it submits, below ``.snakemake/incomplete``), or if it was submitted in the same working
directory with the comment of one of the run's jobs. A process belongs to a run if it is a stage
that was started in the working directory and writes one of the run's files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.core.base.errors import InputError
from stages.core.runs.run_jobs import RunJob

PATIENCE = 60.0  # seconds for an answer of SLURM
FORMAT = "%i|%T|%r|%M|%N|%k|%Z"  # id, state, reason, elapsed time, nodes, comment, directory


@dataclass(frozen=True)
class SlurmJob:
    """A job in SLURM's queue."""

    id: str
    state: str  # SLURM's word: PENDING, RUNNING, ...
    reason: str  # why it waits
    elapsed: str
    nodes: str
    comment: str
    directory: str

    @property
    def where(self) -> str:
        """For people."""
        return f"SLURM job {self.id}" + (f" on {self.nodes}" if self.nodes else "")


@dataclass(frozen=True)
class Process:
    """A process of this machine that runs a stage; several may share a job."""

    id: int
    directory: str
    command: tuple[str, ...]
    state: str = "RUNNING"
    reason: str = ""

    @property
    def where(self) -> str:
        """For people."""
        return f"process {self.id}"

    @property
    def outputs(self) -> list[Path]:
        """The files that a stage was told to write."""
        flags = zip(self.command, self.command[1:], strict=False)
        return [_real(Path(self.directory, v)) for flag, v in flags if flag.startswith("--out")]


Active = SlurmJob | Process


def call(*command: str) -> str:
    """The output of a SLURM command.

    Raises:
        InputError: it failed or did not answer; says what it said.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no answer in {PATIENCE:g} seconds.") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"{command[0]}: {said[0].removeprefix(f'{command[0]}: ')}")
    return done.stdout


def slurm_jobs() -> list[SlurmJob]:
    """The user's own jobs in the queue; none where there is no SLURM.

    Raises:
        InputError: SLURM does not answer.
    """
    if not shutil.which("squeue"):
        return []
    lines = call("squeue", "--me", "--noheader", "--array", "--format", FORMAT).splitlines()
    return [SlurmJob(*line.strip().split("|", 6)) for line in lines if line.count("|") >= 6]


def stage_processes() -> list[Process]:
    """The processes of this machine that run a stage and may be looked at."""
    found = processes()
    return [p for p in found if any(word.startswith("stages.") for word in p.command[1:6])]


def processes() -> list[Process]:
    """All processes of this machine that may be looked at."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile, or of another user
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            place = str((folder / "cwd").readlink())
            found.append(Process(int(folder.name), place, tuple(words)))
    return found


def snakemakes(directory: Path) -> list[Process]:
    """The Snakemakes that were started in a directory, without those that run inside jobs."""
    return [
        process
        for process in processes()
        if _real(Path(process.directory)) == _real(directory)
        and any(Path(word).name == "snakemake" for word in process.command[:3])
        and "--mode" not in process.command
    ]


def marked(directory: Path) -> dict[Path, str | None]:
    """The files that Snakemake noted as unfinished, with the number of their SLURM job."""
    folder, found = directory / ".snakemake/incomplete", {}
    for note in folder.rglob("*"):
        name = "".join(part.removeprefix("@") for part in note.relative_to(folder).parts)
        with suppress(OSError, ValueError):  # a folder, gone, or no note
            content = json.loads(note.read_text() or "{}")
            made = urlsafe_b64decode(name).decode()
            found[_real(directory / made)] = content.get("external_jobid")
    return found


def find_active(
    jobs: list[RunJob], root: Path, directory: Path, queue: list[SlurmJob]
) -> dict[RunJob, list[Active]]:
    """What is going on of each job of a run; processes only where no SLURM job is.

    Args:
        root: the stream's folder.
        directory: where Snakemake was started.
        queue: the user's SLURM jobs.
    """
    by_file = {_real(root / file): job for job in jobs for file in job.outputs}
    by_comment = {job.comment: job for job in jobs}
    noted = {number: by_file.get(file) for file, number in marked(directory).items() if number}
    found: dict[RunJob, list[Active]] = defaultdict(list)
    for job, active in _in_queue(queue, noted, by_comment, _real(directory)):
        found[job].append(active)
    in_slurm = set(found)
    for process in stage_processes():
        for job in {by_file[file] for file in process.outputs if file in by_file} - in_slurm:
            found[job].append(process)
    return found


def _in_queue(
    queue: list[SlurmJob],
    noted: dict[str, RunJob | None],
    by_comment: dict[str, RunJob],
    directory: Path,
) -> Iterator[tuple[RunJob, SlurmJob]]:
    for active in queue:
        here = _real(Path(active.directory)) == directory
        job = noted[active.id] if active.id in noted else here and by_comment.get(active.comment)
        if job:
            yield job, active


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))

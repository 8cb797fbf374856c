"""A real SLURM of one node with fake GPUs, and what it remembers of its jobs."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stages.core.cluster.site import minutes

HERE = Path(__file__).resolve().parent
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
NEEDED_BY_DATABASE = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb-admin", "sacctmgr")
GPUS = 2


@dataclass(frozen=True)
class Job:
    """One job as ``scontrol show job`` tells it; times in seconds, memory in MB."""

    id: int
    name: str  # Snakemake's id of the run
    rule: str
    task: str
    state: str
    submitted: float
    start: float | None
    end: float | None
    cpus: int
    memory: int
    gpus: int
    restarts: int
    minutes: int  # asked for
    nodes: int

    def overlaps(self, other: "Job") -> bool:
        """Whether both ran at some moment."""
        return self.start < other.end and other.start < self.end


class Cluster:
    """Daemons with all their files in one folder; with the accounting database or without."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        database: bool = False,
        nodes: int = 1,
        remembers: int = 7200,
    ) -> None:
        self.folder = folder
        self.variables = {"GPUS": str(GPUS), "PORT": str(port), "NODES": str(nodes)}
        self.variables |= {"MIN_JOB_AGE": str(remembers), "DATABASE": "yes" if database else "no"}
        search = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": search}

    def up(self) -> None:
        """Start the daemons."""
        self._script("up")

    def down(self) -> None:
        """End all jobs, then the daemons."""
        self.call("scancel", "--signal=KILL", *[str(job.id) for job in self.active()])
        wait_for(lambda: not self.active(), seconds=60)
        self._script("down")

    def restart(self, seconds: int) -> None:
        """End the controller, which starts again after so many seconds and knows its jobs."""
        self._script("restart", PAUSE=str(seconds))

    def _script(self, action: str, **variables: str) -> None:
        subprocess.run(
            [str(HERE / "slurm.sh"), action, str(self.folder)],
            env=os.environ | self.variables | variables,
            check=True,
        )

    def call(self, *command: str) -> str:
        """The output of a SLURM command."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout

    def jobs(self) -> list[Job]:
        """All jobs so far, in order of submission."""
        lines = self.call("scontrol", "show", "job", "--oneliner").splitlines()
        return sorted((_job(line) for line in lines if "JobId=" in line), key=lambda job: job.id)

    def active(self) -> list[Job]:
        """Jobs that wait, run or are being cleared away."""
        over = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "PREEMPTED"}
        return [job for job in self.jobs() if job.state not in over]

    def devices(self, job: Job) -> list[str]:
        """The GPUs that a job had when it started for the last time."""
        lines = (self.folder / "gpus_of_jobs").read_text().splitlines()
        given = [line.split()[1:] for line in lines if line.split()[0] == str(job.id)]
        return given[-1][0].split(",") if given and given[-1] else []


def _job(line: str) -> Job:
    def field(name: str) -> str:
        found = re.search(rf"(?:^| ){name}=(\S*)", line)
        return found[1] if found else ""

    comment = re.search(r"rule_(\w+?)_wildcards_(\S+)|rule_(\w+)", field("Comment"))
    rule, wildcards = (comment[1] or comment[3], comment[2] or "") if comment else ("", "")
    tasks = re.search(r"tiny_[a-z]+", wildcards)
    resources = dict(part.split("=") for part in field("TRES").split(",") if "=" in part)
    gpus = re.search(r"gpu(?::\w+)?:(\d+)", field("TresPerJob"))
    return Job(
        id=int(field("JobId")),
        name=field("JobName"),
        rule=rule,
        task=tasks[0] if tasks else "",
        state=field("JobState"),
        submitted=_seconds(field("SubmitTime")) or 0.0,
        start=_seconds(field("StartTime")),
        end=_seconds(field("EndTime")),
        cpus=int(resources.get("cpu", 0)),
        memory=_megabytes(resources.get("mem", "0M")),
        gpus=int(gpus[1]) if gpus else 0,
        restarts=int(field("Restarts") or 0),
        minutes=minutes(field("TimeLimit")) or 0,
        nodes=int(field("NumNodes").partition("-")[0] or 0),
    )


def transcript(jobs: list[Job]) -> str:
    """What SLURM remembers of jobs, a line each; times in seconds since the first one started."""
    began = min(job.start for job in jobs if job.start)
    lines = [
        "  job rule              task          start   end cpus     MB gpus restarts state",
        *(
            f"{job.id:5} {job.rule or job.name:17} {job.task:13}"
            f" {(job.start or began) - began:5.0f} {(job.end or began) - began:5.0f}"
            f" {job.cpus:4} {job.memory:6} {job.gpus:4} {job.restarts:8} {job.state}"
            for job in jobs
        ),
    ]
    return "\n".join(lines)


def _seconds(text: str) -> float | None:
    return None if text in ("Unknown", "N/A", "") else datetime.fromisoformat(text).timestamp()


def _megabytes(text: str) -> int:
    """``4000M``, ``15.5G`` and the like."""
    return round(float(text[:-1]) * {"M": 1, "G": 1024, "T": 1024**2}[text[-1]])


def hear_signals() -> None:
    """For a child process: a suite in the background, or under nohup, ignores what a terminal
    sends, and its children would too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition: Callable[[], object], seconds: float = 1800) -> object:
    """The first true value of ``condition()``.

    Raises:
        TimeoutError: none in so many seconds.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"not within {seconds} s: {condition}")

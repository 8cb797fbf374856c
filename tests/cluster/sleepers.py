"""Somebody whose jobs only sleep, so that clusters can be disturbed in little time."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cluster import Cluster, Job, hear_signals, transcript

HERE = Path(__file__).resolve().parent
CLONE = HERE.parents[1]


@dataclass
class Sleepers:
    """An empty folder in which Snakemake is started."""

    cluster: Cluster
    folder: Path
    process: subprocess.Popen[str] | None = None
    before: set[int] = field(default_factory=set)

    @classmethod
    @contextmanager
    def at(cls, cluster: Cluster, folder: Path) -> Iterator["Sleepers"]:
        """Nothing of it is left running; what SLURM and the user saw is printed."""
        folder.mkdir()
        sleepers = cls(cluster, folder, before={job.id for job in cluster.jobs()})
        try:
            yield sleepers
        finally:
            if sleepers.process is not None and sleepers.process.poll() is None:
                os.killpg(sleepers.process.pid, signal.SIGKILL)
            cluster.call("scancel", *[str(job.id) for job in cluster.active()])
            sleepers.report()

    @property
    def commands(self) -> Path:
        """Scripts here stand before SLURM's commands, for Snakemake alone."""
        return self.folder.parent / f"{self.folder.name}.bin"

    def start(self, *targets: str, **environment: str) -> None:
        """Begin ``snakemake --profile slurm``; its messages go to ``run.log``."""
        self.commands.mkdir(exist_ok=True)
        path = f"{self.commands}:{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"
        command = ["snakemake", "--snakefile", str(HERE / "sleepers.smk")]
        command += ["--profile", str(CLONE / "workflow/profiles/slurm")]
        command += ["--slurm-init-seconds-before-status-checks", "4", "--latency-wait", "5"]
        with (self.folder / "run.log").open("w") as log:
            self.process = subprocess.Popen(
                [*command, *targets],
                cwd=self.folder,
                env=self.cluster.environment
                | {"PATH": path, "CMIT_SLURM_PARTITION": "main", "PYTHONPATH": str(CLONE)}
                | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=hear_signals,
            )

    def end(self, seconds: float = 400) -> int:
        """The exit code, once it is there."""
        assert self.process is not None
        return self.process.wait(timeout=seconds)

    @property
    def messages(self) -> str:
        """What Snakemake said so far."""
        return (self.folder / "run.log").read_text()

    def report(self) -> None:
        """Print the jobs as SLURM knows them, and what Snakemake said of SLURM."""
        if any(job.start for job in self.jobs()):
            print(transcript(self.jobs()))
        told = re.findall(
            r"^.*(?:SLURM|next try|has been waiting|Cancelling).*$", self.messages, re.M
        )
        print("\n".join(told))

    def jobs(self, *states: str) -> list[Job]:
        """Jobs since the beginning, of these states if any are named."""
        new = [job for job in self.cluster.jobs() if job.id not in self.before]
        return [job for job in new if not states or job.state in states]

    def stand_in(self, command: str, body: str) -> None:
        """Have a script answer for a command of SLURM; ``$REAL`` is the command itself."""
        self.commands.mkdir(exist_ok=True)
        path = self.commands / command
        real = f"PATH={self.cluster.environment['PATH']}; REAL=$(command -v {command})"
        path.write_text(f"#!/bin/bash\n{real}\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

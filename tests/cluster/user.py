"""Somebody who runs the tiny stream on the cluster, as the README says."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.cluster.cluster import Cluster, Job, hear_signals
from tests.helpers.project import Project

SEED = Path("results/tiny/seed0")
EXPERTS = SEED / "dmole/experts"
OPTIONS = ["--configfile", "workflow/config/tiny.yaml"]
OPTIONS += ["--slurm-init-seconds-before-status-checks", "5"]


@dataclass
class User:
    """Somebody with a working tree and an account on the cluster."""

    project: Project
    cluster: Cluster
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def at(cls, cluster: Cluster, folder: Path) -> Iterator["User"]:
        """With a fresh clone whose configuration trains long enough to be disturbed."""
        project = Project.fresh(folder / "project")
        file = project.folder / project.config
        config = yaml.safe_load(file.read_text())
        config |= {"methods": ["dmole"], "variants": {}}
        config["training"] |= {"epochs": 20, "checkpoint_steps": 5}
        file.write_text(yaml.safe_dump(config))
        user = cls(project, cluster)
        yield user
        for process in user.started:  # one that a failed test left behind
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Begin `snakemake --profile slurm`; its messages go to ``run.log``.

        Jobs are as nice as this process and leave the daemons time to answer.
        """
        folder = self.project.folder
        names = {"CMIT_SLURM_PARTITION": "main", "CMIT_SLURM_GPU_PARTITION": "gpu"}
        names |= {"CMIT_SLURM_GPU_MODEL": "a100", "OMP_NUM_THREADS": "1"}
        names |= {"PATH": f"{Path(sys.executable).parent}:{self.cluster.environment['PATH']}"}
        command = ["nice", "-n", "5", "snakemake", "--profile", "slurm", *OPTIONS, *arguments]
        with (folder / "run.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self.cluster.environment | names | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=hear_signals,
            )
        self.started.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, list[Job]]:
        """A whole run: exit code, messages, jobs."""
        before = {job.id for job in self.cluster.jobs()}
        code = self.start(*arguments, **environment).wait(timeout=3600)
        jobs = [job for job in self.cluster.jobs() if job.id not in before]
        return code, self.messages(), jobs

    def messages(self) -> str:
        """What the last run said."""
        return (self.project.folder / "run.log").read_text()

    def weights_file(self, task: str) -> Path:
        """Where an expert's weights are."""
        return self.project.folder / EXPERTS / task / "adapter_model.safetensors"

    def weights(self, task: str) -> str:
        """Their hash."""
        return hashlib.sha256(self.weights_file(task).read_bytes()).hexdigest()

    def saved(self, task: str) -> bool:
        """Whether a training has a complete checkpoint."""
        folder = self.project.folder / SEED / "dmole/checkpoints" / task
        return any(folder.glob("phase*/checkpoint-*/complete"))

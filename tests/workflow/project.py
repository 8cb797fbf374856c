"""A copy of the project in a temporary folder, in which Snakemake can be asked what it would do."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "stages", "workflow", "tests/data/tiny")
PARENTS = {"tiny_caption": None, "tiny_choice": "tiny_caption", "tiny_ground": "tiny_caption"}


@dataclass(frozen=True)
class Job:
    """One job of a dry run."""

    rule: str
    scope: str
    task: str
    input: tuple[str, ...]
    output: tuple[str, ...]


class Project:
    """A working tree of its own; nothing that happens in it touches the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = "workflow/config/tiny.yaml"

    @classmethod
    def fresh(cls, folder: Path) -> "Project":
        """The project without results."""
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source, target = SOURCE / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=ignore, symlinks=True)
            else:
                shutil.copy2(source, target)
        return cls(folder)

    def copy(self, folder: Path) -> "Project":
        """The same state once more, times of files included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here."""
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", self.config]
        return subprocess.run(
            [*command, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=600
        )

    def plan(self, *arguments: str) -> list[Job]:
        """The jobs that Snakemake would run."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return jobs(done.stdout + done.stderr)

    def pretend(self) -> None:
        """Make every output an empty file (transfers as in PARENTS) and mark all as done."""
        for job in self.plan():
            for output in job.output:
                self._make(job, self.folder / output)
        done = self.snakemake("--touch")
        assert done.returncode == 0, done.stdout + done.stderr

    def pretend_parent(self, task: str, parent: str, *, done: bool = False) -> None:
        """Give a task another parent; with ``done``, as if all had been run that way."""
        file = self.folder / f"results/tiny/seed0/transfers/{task}.json"
        file.write_text(json.dumps(transfer(task, parent)))
        if done:
            self.snakemake("--touch")
        else:  # as if edited a moment after the run
            os.utime(file, (time.time() + 5,) * 2)

    def _make(self, job: Job, output: Path) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        if job.rule == "choose_parent":
            output.write_text(json.dumps(transfer(job.task, PARENTS[job.task])))
        elif job.rule in ("train_expert", "make_tiny_backbone"):
            output.mkdir()
            (output / "content").touch()
        else:
            output.touch()


def transfer(task: str, parent: str | None) -> dict:
    """A hand-made transfer file."""
    before = list(PARENTS)[: list(PARENTS).index(task)]
    return {
        "task": task,
        "stage": len(before) + 1,
        "parent": parent,
        "losses": {name: 0.1 if name == parent else 0.5 for name in before},
        "require_threshold": False,
        "thresholds": None,
        "provenance": {},
    }


def jobs(text: str) -> list[Job]:
    """The jobs that Snakemake printed."""
    found = []
    for rule, block in re.findall(
        r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?: {4}.*\n)+)", text, re.M
    ):
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", block, re.M))
        wildcards = dict(re.findall(r"(\w+)=([^,\s]*)", fields.get("wildcards", "")))
        scope = wildcards.get("scope", wildcards.get("place", "").rstrip("/"))
        files = (tuple(fields.get(key, "").split(", ")) for key in ("input", "output"))
        found.append(Job(rule, scope, wildcards.get("task", ""), *files))
    return [job for job in found if job.rule != "all"]

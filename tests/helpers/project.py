"""A copy of the project in a temporary folder, in which Snakemake can be asked what it would do."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.decisions import PARENTS, transfer

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
PARTS = ("Snakefile", "slurm", "stages", "workflow", "tests/data/tiny", "data_manifests/cmit")
STREAMS = ("pocket", "coin", "ucit", "mllm_dcl", "mllm_acl", "trigap", "vqa_cl")
LINKED = tuple(
    f"data_manifests/{name}" for name in (*STREAMS, "backbones")
)  # nobody edits them here


@dataclass(frozen=True)
class Job:
    """One job of a dry run."""

    rule: str
    scope: str
    task: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    log: str
    wildcards: tuple[str, ...]


class Project:
    """A working tree of its own; nothing that happens in it touches the real one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = "workflow/config/tiny.yaml"
        self.more: list[str] = []  # config files that change it

    @property
    def command(self) -> list[str]:
        """How Snakemake is called here; targets may follow."""
        program = [sys.executable, "-m", "snakemake"]
        return [*program, "--configfile", self.config, *self.more, "--cores", "2"]

    @classmethod
    def fresh(cls, folder: Path) -> "Project":
        """The project without results."""
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source, target = SOURCE / part, folder / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                shutil.copytree(source, target, ignore=ignore, symlinks=True)
            else:
                shutil.copy2(source, target, follow_symlinks=False)
        for part in LINKED:
            (folder / part).symlink_to(SOURCE / part)
        return cls(folder)

    def copy(self, folder: Path) -> "Project":
        """The same state once more, times of files included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def snakemake(
        self, *arguments: str, timeout: int = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here."""
        return subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def plan(self, *arguments: str) -> list[Job]:
        """The jobs that Snakemake would run."""
        done = self.snakemake("--dry-run", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return jobs(done.stdout + done.stderr)

    def digests(self, results: Path) -> dict[str, str]:
        """The hash of every artefact below ``results`` but the report and the comparison, which
        show run times, and what killed processes left behind under hidden names."""
        root = self.folder / results
        skipped = {"logs", "benchmarks", "report.html", "figures"}
        skipped |= {"comparison.md", "comparison.json"}
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
            and path.relative_to(root).parts[0] not in skipped
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        }

    def pretend(self, **parents: str | None) -> None:
        """Run everything with jobs that only make empty files; parents as in PARENTS, or given."""
        for task, parent in (PARENTS | parents).items():
            file = self.folder / "transfers" / f"{task}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(transfer(task, parent)))
        (self.folder / "commands").mkdir()
        self.carry_on("--forceall")

    def carry_on(self, *arguments: str, **environment: str) -> str:
        """Run what is missing with the same kind of jobs; what Snakemake printed."""
        pretending = {"BASH_ENV": str(HERE / "fake_python.sh")} | environment
        done = self.snakemake("--printshellcmds", *arguments, **pretending)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def commands(self, stage: str) -> list[list[str]]:
        """The command lines of a stage that a pretended run would have run."""
        lines = (file.read_text() for file in (self.folder / "commands").iterdir())
        launched = re.compile(
            rf"-m (stages\.core\.base\.launch \d+ (--\w+ \d+ )*)?stages\.{stage} "
        )
        return [line.split() for line in lines if launched.match(line)]


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
        told = (fields.get("log", ""), tuple(wildcards.values()))
        found.append(Job(rule, scope, wildcards.get("task", ""), *files, *told))
    return [job for job in found if job.rule != "all"]

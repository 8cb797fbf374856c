"""Commands of SLURM that know one file: a line per job, as `squeue` was asked for it."""

import os
from pathlib import Path

import pytest

SQUEUE = """#!/bin/sh
[ ! -e "{folder}/silent" ] || {{ echo "squeue: error: no answer" >&2; exit 1; }}
cat "{folder}/queue"
"""
SCANCEL = """#!/bin/sh
for job; do sed -i "/^$job|/d" "{folder}/queue"; echo "$job" >> "{folder}/cancelled"; done
"""


class FakeSlurm:
    """Its jobs are lines ``id|state|reason|elapsed|nodes|comment|directory``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
            (folder / name).write_text(text.format(folder=folder))
            (folder / name).chmod(0o755)
        (folder / "queue").touch()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def add(self, number: int, comment: str, directory: Path, state: str = "RUNNING") -> None:
        """A job; one that waits has a reason."""
        reason, elapsed, nodes = ("None", "1:05", "node7")
        if state == "PENDING":
            reason, elapsed, nodes = "QOSMaxJobsPerUserLimit", "0:00", ""
        line = f"{number}|{state}|{reason}|{elapsed}|{nodes}|{comment}|{directory}\n"
        with (self.folder / "queue").open("a") as queue:
            queue.write(line)

    def be_silent(self) -> None:
        """From now on squeue fails."""
        (self.folder / "silent").touch()

    @property
    def cancelled(self) -> list[str]:
        """The jobs that scancel was given."""
        file = self.folder / "cancelled"
        return file.read_text().split() if file.exists() else []

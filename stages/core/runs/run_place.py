"""A run by its results or by its configuration, for commands that look at one that goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stages.core.base.config import complete, find_config, load_config
from stages.core.runs.checks import check_runs
from stages.core.runs.find_run import find_run
from stages.core.runs.run_jobs import RunJob, run_jobs
from stages.core.runs.runs import Runs


@dataclass(frozen=True)
class RunPlace:
    """A run's configuration, its jobs, the stream's folder, and where Snakemake was started."""

    runs: Runs
    jobs: list[RunJob]
    root: Path
    directory: Path


def find_place(text: str, directory: Path) -> RunPlace:
    """The run of a results folder or run sheet, else of a configuration by its file or name.

    Args:
        directory: where Snakemake was started; relative paths of a configuration begin there.

    Raises:
        InputError: neither is there, or the configuration is wrong.
    """
    path = Path(text)
    if path.is_dir() or path.suffix == ".json":
        sheet, _ = find_run(path)
        root = sheet.root
        runs = Runs(complete(sheet.config | {"output": str(root.parent)}, str(sheet.path)))
    else:
        config = load_config(find_config(text))
        root = Path(os.path.normpath(directory / config["output"] / config["stream"]))
        runs = Runs(config | {"output": str(root.parent)})
        check_runs(runs)
    return RunPlace(runs, run_jobs(runs), root, directory)

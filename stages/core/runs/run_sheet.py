"""The run sheet ``runs.json``: which run has which artefact where, written once and read by all
that looks at results.

Its paths start in ``root``, itself relative to the sheet, so that a results folder can be moved.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.base.artifacts import read_json
from stages.core.base.config import slice_config
from stages.core.base.errors import InputError, unknown
from stages.core.runs.runs import Runs, split_scope

MEASURES = ("general", "robust")
"""What is measured of a finished run on demand, a JSON file each in the run's folder."""

PLACES = ("output", "gpus", "loader", "general")  # keys that do not say what a run makes

SOURCE = ("name", "version", "licence")  # of a manifest's source


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what says where it is run and watched."""
    return slice_config(config, *(key for key in config if key not in PLACES))


def measure_file(name: str, scope: str, sweep: str | None) -> str:
    """Where one of :data:`MEASURES` of a run is, below the stream's folder; a sweep has its own."""
    return str(Path("sweeps", sweep) / scope / f"{name}.json" if sweep else f"{scope}/{name}.json")


def sheet_of(runs: Runs, root: str) -> dict[str, Any]:
    """The content of the sheet of a configuration, without provenance.

    Args:
        root: the stream's folder, from that of the sheet.
    """
    return {
        "stream": runs.config["stream"],
        "root": root,
        "tasks": runs.config["tasks"],
        "labels": labels_of(runs),
        "sources": sources_of(runs),
        "config": settings_of(runs.config),
        "runs": [
            {
                "name": run,
                "method": runs.methods[run],
                "seed": int(split_scope(scope)[0].removeprefix("seed")),
                "tasks": runs.tasks(run),
                "artefacts": _artefacts(runs, scope, run),
                "measures": {
                    name: measure_file(name, scope, runs.config["sweep"]) for name in MEASURES
                },
            }
            for scope, run in runs.scopes
        ],
    }


def labels_of(runs: Runs) -> dict[str, dict[str, str]]:
    """What tables and pictures call tasks and methods, where that is not their name.

    Raises:
        InputError: two tasks have the same label, or one has the name of another as its label.
    """
    tasks = {
        task: runs.manifest(task).content.get("label") or task for task in runs.config["tasks"]
    }
    for task, label in tasks.items():
        if same := [other for other in tasks if other != task and tasks[other] == label]:
            raise InputError(
                f"manifests of {task} and {same[0]}: both have the label {label!r}; change one."
            )
    methods = {
        name: runs.method(name).label
        for name in runs.config["methods"]
        if runs.methods[name] == name  # a variant goes by its name
    }
    return {
        kind: {name: label for name, label in found.items() if label != name}
        for kind, found in {"tasks": tasks, "methods": methods}.items()
    }


def sources_of(runs: Runs) -> dict[str, dict[str, str]]:
    """By task, where its data come from and their licence, as the manifests say."""
    found = {task: runs.manifest(task).content["source"] for task in runs.config["tasks"]}
    return {task: {key: source[key] for key in SOURCE} for task, source in found.items()}


def _artefacts(runs: Runs, scope: str, run: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for _, name, task in runs.artefacts(run):
        found[name][task] = runs.path(name, scope, task)
    return dict(found)


@dataclass(frozen=True)
class Run:
    """A method or variant under one seed, and the files of its artefacts by name and task;
    ``measures`` are files that need not be there."""

    name: str
    method: str
    seed: int
    tasks: list[str]  # in the order in which it learns them
    artefacts: dict[str, dict[str, Path]]
    measures: dict[str, Path] = field(default_factory=dict)

    def file(self, artefact: str, task: str) -> Path:
        """Where an artefact of a task is.

        Raises:
            InputError: the run has none of it.
        """
        found = self.artefacts.get(artefact, {})
        if task not in found:
            raise unknown("task", task, found, f"{artefact} of {self.name}, seed {self.seed}")
        return found[task]


class RunSheet:
    """A run sheet that was read."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            InputError: not a run sheet.
        """
        content = read_json("runs", path)
        self.path, self.config = Path(path), content["config"]
        self.stream, self.tasks = content["stream"], content["tasks"]
        self.labels: dict[str, dict[str, str]] = content.get("labels", {})
        self.sources: dict[str, dict[str, str]] = content.get("sources", {})
        self.root = Path(os.path.normpath(self.path.parent / content["root"]))
        self.runs = [
            Run(
                entry["name"],
                entry["method"],
                entry["seed"],
                entry["tasks"],
                {
                    name: {task: self.root / file for task, file in files.items()}
                    for name, files in entry["artefacts"].items()
                },
                {name: self.root / file for name, file in entry.get("measures", {}).items()},
            )
            for entry in content["runs"]
        ]

    def run(self, name: str, seed: int) -> Run:
        """One run by name and seed.

        Raises:
            InputError: no such run.
        """
        for run in self.runs:
            if (run.name, run.seed) == (name, seed):
                return run
        names = {run.name for run in self.runs}
        if name not in names:
            raise unknown("run", name, names, str(self.path))
        seeds = ", ".join(str(run.seed) for run in self.runs if run.name == name)
        raise InputError(f"{self.path}: {name} was not run under seed {seed}, but under {seeds}.")

    def files(self, artefact: str) -> Iterator[tuple[str, str, Path]]:
        """(scope, task, file) of every file of an artefact; what runs share comes once."""
        seen = set()
        for run in self.runs:
            for task, file in run.artefacts.get(artefact, {}).items():
                if file not in seen:
                    seen.add(file)
                    yield self.scope_of(file), task, file

    def scope_of(self, file: Path) -> str:
        """The scope an artefact of a task lies in, such as ``seed0/dmole``."""
        return "/".join(file.relative_to(self.root).parts[:-2])

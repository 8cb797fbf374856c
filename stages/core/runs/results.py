"""What a run left behind, read through its run sheet and grouped by seed and variant."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.base.artifacts import metadata, read_json, read_table, task_of
from stages.core.base.errors import InputError, unknown
from stages.core.base.reading import read_object, reading
from stages.core.evaluation.routing_quality import Routed, read_routes
from stages.core.runs.edited import Edit
from stages.core.runs.examples import Examples
from stages.core.runs.run_sheet import RunSheet
from stages.core.runs.runs import split_scope
from stages.core.runs.stage_table import STAGES, rule_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, order=True)
class Scope:
    """Whose artefact it is: a seed, and a variant where it is not shared by all methods."""

    seed: int
    variant: str = ""

    def __str__(self) -> str:
        return f"seed {self.seed}" + (f", {self.variant}" if self.variant else "")

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """From ``seed0/dmole``; None where there is no seed, for what all seeds share."""
        seed, name = split_scope(text)
        return cls(int(seed.removeprefix("seed")), name) if seed else None


@dataclass
class Results:
    """What comparison and report look at. Mappings by task are in stream order."""

    config: dict
    tasks: list[str]
    scores: list[dict]
    metrics: dict
    made_by: dict = field(default_factory=dict)  # provenance of the scores
    profiles: dict[Scope, dict[str, list[dict]]] = field(default_factory=dict)
    allocations: dict[Scope, dict[str, dict]] = field(default_factory=dict)
    routers: dict[Scope, dict[str, dict]] = field(default_factory=dict)
    transfers: dict[Scope, dict[str, dict]] = field(default_factory=dict)
    trainings: dict[Scope, dict[str, dict]] = field(default_factory=dict)
    routes: dict[tuple[str, int], dict[str, Routed]] = field(default_factory=dict)
    benchmarks: dict[str, list[dict]] = field(default_factory=dict)
    comparison: dict = field(default_factory=dict)
    separability: dict = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    published: list[dict] = field(default_factory=list)  # rows metric, method, Average
    command: str = ""  # that made the run
    examples: Examples | None = None
    robust: dict[tuple[str, int], dict] = field(default_factory=dict)  # by run and seed
    general: dict[tuple[str, int], dict] = field(default_factory=dict)  # by run and seed
    last_samples: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)  # of tasks and methods, by name

    def __post_init__(self) -> None:
        """Put routes in the order of the methods."""
        place = {method: i for i, method in enumerate(self.methods)}
        known = sorted(self.routes, key=lambda key: (place.get(key[0], len(place)), key))
        self.routes = {key: self.routes[key] for key in known}

    @property
    def methods(self) -> list[str]:
        """Methods with scores: in the config's order, then those it does not name."""
        found = {row["method"] for row in self.scores}
        listed = [name for name in self.config.get("methods", []) if name in found]
        return listed + sorted(found - set(listed))

    def order(self, name: str) -> list[str]:
        """The tasks in the order in which this method or variant learnt them."""
        return orders_of(self.config).get(name, self.tasks)

    def task(self, name: str) -> str:
        """How people call a task."""
        return self.labels.get("tasks", {}).get(name, name)

    def label(self, name: str) -> str:
        """How people call a method or variant."""
        return self.labels.get("methods", {}).get(name, name)

    @property
    def seeds(self) -> list[int]:
        """Seeds with scores."""
        return sorted({row["seed"] for row in self.scores})


def orders_of(config: dict) -> dict[str, list[str]]:
    """The tasks in the order of each variant that has an order of its own."""
    changes = {name: rule["set"] for name, rule in config.get("variants", {}).items()}
    return {name: change["tasks"] for name, change in changes.items() if "tasks" in change}


# --- reading ----------------------------------------------------------------------------------


def read_results(sheet: RunSheet, scores: Path, metrics: Path, *artefacts: str) -> Results:
    """Scores, metrics and the named artefacts of every run, with the jobs' run times.

    Raises:
        InputError: metrics of other tasks, or an artefact that cannot be read.
    """
    content = read_json("metrics", metrics)
    if content["tasks"] != sheet.tasks:
        raise InputError(f"{metrics}: its tasks are not those of {sheet.path}; score again.")
    readers: dict[str, tuple[str, Callable[[Path], tuple[str, Any]]]] = {
        "profile": ("profiles", read_profile),
        "allocation": ("allocations", read_named("allocation")),
        "router": ("routers", read_named("router")),
        "transfer": ("transfers", read_named("transfer")),
        "expert": ("trainings", read_training),
    }
    found: dict[str, Any] = {
        readers[name][0]: _by_scope(sheet, name, readers[name][1]) for name in artefacts
    }
    return Results(
        config=sheet.config,
        tasks=sheet.tasks,
        scores=read_scores(scores, sheet.tasks),
        metrics=content,
        made_by=metadata(scores).get("provenance") or {},
        routes=read_all_routes(sheet),
        benchmarks=read_benchmarks(sheet),
        labels=sheet.labels,
        **found,
    )


def _by_scope(
    sheet: RunSheet, artefact: str, read: Callable[[Path], tuple[str, Any]]
) -> dict[Scope, dict[str, Any]]:
    """What all runs have of an artefact, grouped by scope, tasks in their run's order; ``read``
    gives (task, content)."""
    found: dict[Scope, dict[str, Any]] = defaultdict(dict)
    for scope, task, file in sheet.files(artefact):
        of, content = read(file)
        if of != task:
            raise InputError(f"{file}: of task {of!r}, expected {task!r}.")
        place = Scope.parse(scope)
        if place is None:
            raise ValueError(f"{file}: artefacts of a run have a seed")
        found[place][task] = content
    orders = orders_of(sheet.config)
    return {
        scope: {t: found[scope][t] for t in orders.get(scope.variant, sheet.tasks) if t in tasks}
        for scope, tasks in sorted(found.items())
    }


def read_scores(path: Path, tasks: list[str]) -> list[dict]:
    """Score rows; every task must be one of the stream's.

    Raises:
        InputError: a task that is not of the stream.
    """
    rows = read_table("scores", path).to_pylist()
    for row in rows:
        if row["task"] not in tasks:
            raise unknown("task", row["task"], tasks, str(path))
    return rows


def read_named(name: str) -> Callable[[Path], tuple[str, dict]]:
    """A reader of JSON artefact ``name``: task and content."""

    def read(path: Path) -> tuple[str, dict]:
        content = read_json(name, path)
        return content["task"], content

    return read


def read_profile(path: Path) -> tuple[str, list[dict]]:
    """Task and slot rows of a gradient profile."""
    return task_of(path), read_table("profile", path).to_pylist()


def read_training(folder: Path) -> tuple[str, dict]:
    """Task and ``training.json`` of an expert folder."""
    return read_named("training")(Path(folder) / "training.json")


def read_all_routes(sheet: RunSheet) -> dict[tuple[str, int], dict[str, Routed]]:
    """Routes by (run, seed); those of methods without routers (no ratios) are left out.

    Raises:
        InputError: a file with the routes of another task.
    """
    found: dict[tuple[str, int], dict[str, Routed]] = {}
    for run in sheet.runs:
        if not {"router", "routes"} <= run.artefacts.keys():
            continue
        mine = {}
        for task in sheet.tasks:
            file = run.file("routes", task)
            of, routed = read_routes(file)
            if of != task:
                raise InputError(f"{file}: of task {of!r}, expected {task!r}.")
            if np.isfinite(routed.ratio).any():
                mine[task] = routed
        if mine:
            found[run.name, run.seed] = mine
    return found


def read_measured(sheet: RunSheet, name: str) -> dict[tuple[str, int], dict]:
    """What was measured of runs on demand, ``general`` or ``robust``, by (run, seed)."""
    return {
        (run.name, run.seed): read_json(name, run.measures[name])
        for run in sheet.runs
        if name in run.measures and run.measures[name].is_file()
    }


def read_benchmarks(sheet: RunSheet) -> dict[str, list[dict]]:
    """Snakemake's benchmark rows by rule, of the jobs behind the runs of the sheet as far as they
    are there: ``seconds``, ``memory`` (MiB or None) and ``scope`` (None: a job of all seeds)."""
    found: dict[str, dict[Path, Scope | None]] = defaultdict(dict)
    for stage, entry in STAGES.items():
        for name in entry.writes:
            for scope, task, _ in sheet.files(name):
                folder = sheet.root / "benchmarks" / rule_of(stage) / scope
                for path in (folder / f"{task}.tsv", *folder.glob(f"{task}.shard*.tsv")):
                    if path.is_file():
                        found[rule_of(stage)][path] = Scope.parse(scope)
    return {
        rule: [
            _job(row, path) | {"scope": scope}
            for path, scope in sorted(files.items(), key=lambda item: item[0])
            for row in _separated(path, "\t")
        ]
        for rule, files in found.items()
    }


PUBLISHED = ("metric", "method", "Average", "backbone", "source", "differs")


def read_published(path: Path, backbone: Path) -> list[dict]:
    """Rows (:data:`PUBLISHED`, one column per task) of a published table, those that are of the
    same kind of backbone as the one in the folder ``backbone``.

    Raises:
        InputError: a column is missing.
    """
    rows = _separated(path, ",")
    if not rows or not set(PUBLISHED) <= set(rows[0]):
        raise InputError(f"{path}: needs rows with the columns {', '.join(PUBLISHED)}.")
    config = backbone / "config.json"
    kind = read_object(config).get("model_type") if config.is_file() else None
    return [row for row in rows if row["backbone"] == kind]


def _separated(path: Path, delimiter: str) -> list[dict]:
    with (
        reading(path, "a table of text"),
        Path(path).open(newline="", encoding="utf-8-sig") as handle,
    ):
        return list(csv.DictReader(handle, delimiter=delimiter))


def _job(row: dict, path: Path) -> dict:
    # Snakemake writes NA or - for a job that ended before its memory was sampled.
    memory = row.get("max_rss")
    try:
        used = None if memory in (None, "NA", "-") else float(memory)
        return {"seconds": float(row["s"]), "memory": used}
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: expected numbers in the columns 's' and 'max_rss'.") from None

"""What a run left behind, read from explicit lists of files and grouped by seed and variant."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.base.artifacts import metadata, read_json, read_table
from stages.core.base.errors import InputError, unknown
from stages.core.runs.runs import split_scope

# Folders that follow the scope in a path; anything else there is the name of a variant.
_FOLDERS = {"profiles", "allocations", "routers", "transfers", "experts", "routes"}


@dataclass(frozen=True, order=True)
class Scope:
    """Whose artefact it is: a seed, and a variant where it is not shared by all methods."""

    seed: int
    variant: str = ""

    def __str__(self) -> str:
        return f"seed {self.seed}" + (f", {self.variant}" if self.variant else "")


@dataclass(frozen=True)
class Routed:
    """One task's test samples as routed by one method; arrays hold one entry per row."""

    step: np.ndarray  # int
    own_nearest: np.ndarray  # bool: the lowest loss-to-threshold ratio is the own task's
    own_first: np.ndarray  # bool: the own task's expert is active and ranks first
    rejected: np.ndarray  # bool: no expert active, the backbone answers
    ratio: np.ndarray  # float, NaN where there is none (step 0)
    active: dict[tuple[int, str], int]  # (step, expert) -> rows in which it is active


@dataclass
class Results:
    """All inputs of the report. Mappings by task are in stream order."""

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
    published: list[dict] = field(default_factory=list)  # rows metric, method, Average
    command: str = ""  # that made the run

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

    @property
    def seeds(self) -> list[int]:
        """Seeds with scores."""
        return sorted({row["seed"] for row in self.scores})


def orders_of(config: dict) -> dict[str, list[str]]:
    """The tasks in the order of each variant that has an order of its own."""
    changes = {name: rule["set"] for name, rule in config.get("variants", {}).items()}
    return {name: change["tasks"] for name, change in changes.items() if "tasks" in change}


def scope_of(path: Path) -> Scope:
    """Seed and variant from the path, e.g. ``.../seed0/dmole/routers/a.json``.

    Raises:
        InputError: no part ``seed{number}``.
    """
    parts = Path(path).parts
    places = [i for i, part in enumerate(parts) if re.fullmatch(r"seed\d+", part)]
    if not places or places[-1] + 1 >= len(parts):
        raise InputError(f"{path}: no folder named seed0, seed1, ... in the path; keep the layout.")
    after = parts[places[-1] + 1]
    seed = int(parts[places[-1]].removeprefix("seed"))
    return Scope(seed, "" if after in _FOLDERS else after)


def by_scope(
    paths: Sequence[Path],
    tasks: list[str],
    read: Callable[[Path], tuple[str, Any]],
    orders: dict[str, list[str]] | None = None,
) -> dict[Scope, dict[str, Any]]:
    """Artefacts grouped by scope, tasks in stream order; ``read`` gives (task, content),
    ``orders`` the other order in which a variant learnt them."""
    found: dict[Scope, dict[str, Any]] = defaultdict(dict)
    for path in paths:
        task, content = read(path)
        if task not in tasks:
            raise unknown("task", task, tasks, str(path))
        if task in found[scope_of(path)]:
            raise InputError(f"{path}: a second file for task {task!r} of {scope_of(path)}.")
        found[scope_of(path)][task] = content
    return {
        scope: {
            task: found[scope][task]
            for task in (orders or {}).get(scope.variant, tasks)
            if task in found[scope]
        }
        for scope in sorted(found)
    }


def read_named(name: str) -> Callable[[Path], tuple[str, dict]]:
    """A reader of JSON artefact ``name`` for :func:`by_scope`."""

    def read(path: Path) -> tuple[str, dict]:
        content = read_json(name, path)
        return content["task"], content

    return read


def read_scores(path: Path, tasks: list[str]) -> list[dict]:
    """Score rows; every task must be one of the stream's."""
    rows = read_table("scores", path).to_pylist()
    for row in rows:
        if row["task"] not in tasks:
            raise unknown("task", row["task"], tasks, str(path))
    return rows


def read_training(folder: Path) -> tuple[str, dict]:
    """Task and ``training.json`` of an expert folder."""
    path = Path(folder) / "training.json"
    try:
        content = json.loads(path.read_text())
        return content["task"], content
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{path}: no readable training record ({error!r}).") from None


def read_profile(path: Path) -> tuple[str, list[dict]]:
    """Task and slot rows of a gradient profile."""
    return metadata(path)["task"], read_table("profile", path).to_pylist()


def read_routes(path: Path) -> tuple[str, Routed]:
    """Task and routing decisions of its test samples."""
    task, table = metadata(path)["task"], read_table("routes", path)
    step = table["step"].to_numpy()
    experts = table["experts"].to_pylist()
    active: dict[tuple[int, str], int] = defaultdict(int)
    for row, names in zip(step.tolist(), experts, strict=True):
        for name in names:
            active[row, name] += 1
    ratios = table["ratio"].to_pylist()
    return task, Routed(
        step=step,
        own_nearest=np.array([best == task for best in table["best_task"].to_pylist()], bool),
        own_first=np.array([names[:1] == [task] for names in experts], bool),
        rejected=np.array([not names for names in experts], bool),
        ratio=np.array([np.nan if r is None else r for r in ratios], float),
        active=dict(active),
    )


def read_all_routes(
    entries: Sequence[Sequence[str]], tasks: list[str]
) -> dict[tuple[str, int], dict[str, Routed]]:
    """Routes by (method, seed); those of methods without routers (no ratios) are left out."""
    found: dict[tuple[str, int], dict[str, Routed]] = defaultdict(dict)
    for entry in entries:
        if len(entry) < 3 or not entry[1].isdecimal():
            raise InputError(f"--routes {' '.join(entry)}: needs a method, a seed, and files.")
        method, seed, *paths = entry
        for path in paths:
            task, routed = read_routes(Path(path))
            if task not in tasks:
                raise unknown("task", task, tasks, path)
            if task in found[method, int(seed)]:
                raise InputError(f"{path}: a second file for {task!r} of {method}, seed {seed}.")
            if np.isfinite(routed.ratio).any():
                found[method, int(seed)][task] = routed
    return {
        key: {task: found[key][task] for task in tasks if task in found[key]}
        for key in sorted(found)
        if found[key]
    }


def read_benchmarks(paths: Sequence[Path]) -> dict[str, list[dict]]:
    """Snakemake's benchmark rows by rule: ``seconds``, ``memory`` (MiB or None) and ``scope``
    (None for a job of all seeds), in path order."""
    found: dict[str, list[dict]] = defaultdict(list)
    for path in paths:
        parts = Path(path).parts
        if "benchmarks" not in parts[:-1]:
            raise InputError(f"{path}: no folder 'benchmarks' in the path; the rule follows it.")
        rule, *inner = parts[len(parts) - parts[::-1].index("benchmarks") :]
        seed, name = split_scope("/".join(inner[:-1]))
        scope = Scope(int(seed.removeprefix("seed")), name) if seed else None
        jobs = [_job(row, path) | {"scope": scope} for row in _separated(path, "\t")]
        found[Path(rule).stem] += jobs
    return dict(found)


def read_published(path: Path) -> list[dict]:
    """Rows (metric, method, one column per task, Average) of a published table."""
    rows = _separated(path, ",")
    if not rows or not {"metric", "method", "Average"} <= set(rows[0]):
        raise InputError(f"{path}: needs rows with the columns metric, method and Average.")
    return rows


def _separated(path: Path, delimiter: str) -> list[dict]:
    try:
        with Path(path).open(newline="") as handle:
            return list(csv.DictReader(handle, delimiter=delimiter))
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror}).") from None


def _job(row: dict, path: Path) -> dict:
    try:
        seconds = float(row["s"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: no number of seconds in column 's'.") from None
    # Snakemake writes NA or - for a job that ended before its memory was sampled.
    memory = row.get("max_rss")
    return {"seconds": seconds, "memory": None if memory in (None, "NA", "-") else float(memory)}

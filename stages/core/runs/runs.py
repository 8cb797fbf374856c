"""The runs of a configuration: whose an artefact is, where it lies, and which jobs there are.

Artefacts live in a *scope*: ``seed0`` for what all methods share, ``seed0/dmole`` for a method's
own, ``seed0/half_budget`` for what a variant changes. A variant uses the plain method's artefact
of a stage as long as nothing that this stage or a stage before it reads is changed. All of it
follows from the table of stages. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.base.config import located, slice_config, with_variant
from stages.core.base.errors import InputError, unknown
from stages.core.data.manifests import Manifest, load_manifest
from stages.core.runs import stage_table as table
from stages.core.runs.stage import Job
from stages.core.runs.stage_table import STAGES
from stages.methods.registry import ALIASES, load, names


class Made(NamedTuple):
    """One artefact of a configuration: of which stage, in which scope, for which task."""

    stage: str
    scope: str
    artefact: str
    task: str


class Runs:
    """The runs of a completed config, and where each finds and puts its artefacts."""

    def __init__(self, config: dict) -> None:
        self.config = config
        self._configs: dict[str, dict] = {}
        self._methods: dict[str, Any] = {}
        self._manifests: dict[str, Manifest] = {}
        self._reads: dict[tuple[str, str], dict[str, dict]] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._jobs: dict[str, list[tuple[str, str, str]]] = {}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Every name that can be run, and the method behind it.

        Raises:
            InputError: unknown method or variant, or a variant that hides a method.
        """
        known = {name: name for name in names()} | ALIASES
        for variant, change in self.config["variants"].items():
            if variant in known:
                raise InputError(f"variants.{variant}: a method has this name; choose another.")
            if change["method"] not in names():
                raise unknown("method", change["method"], names(), f"variants.{variant}.method")
            known[variant] = change["method"]
        for name in self.config["methods"]:
            if name not in known:
                raise unknown("method or variant", name, known, "methods")
        return known

    def method(self, name: str):
        """The method behind a run."""
        if name not in self._methods:
            self._methods[name] = load(self.methods[name])
        return self._methods[name]

    def config_of(self, name: str) -> dict:
        """The config under which a run's own stages work; '' is the unchanged config."""
        if name not in self._configs:
            self._configs[name] = with_variant(self.config, name)
        return self._configs[name]

    def tasks(self, name: str) -> list[str]:
        """The stream of a run, in its own order."""
        return self.config_of(name)["tasks"]

    def manifest(self, task: str) -> Manifest:
        """A task's checked manifest.

        Raises:
            InputError: no such task (near miss suggested), or a faulty manifest.
        """
        if task not in self._manifests:
            path = located(self.config["manifests"]) / f"{task}.yaml"
            if not path.is_file():
                found = (other.stem for other in path.parent.glob("*.yaml"))
                raise unknown("task", task, found, f"tasks (manifests in {path.parent})")
            root = self.config["data_root"]
            if root and not Path(root).is_dir():
                raise InputError(f"data_root: there is no folder {root!r}.")
            manifest = load_manifest(path, root)
            held_out = self.config["rows"]["held_out"]
            self._manifests[task] = manifest.tested_on_training_rows() if held_out else manifest
        return self._manifests[task]

    def row_limit(self, split: str) -> int | None:
        """The largest number of rows of a task's split; None: all that there are."""
        limit, held_out = self.config["rows"][split], self.config["rows"]["held_out"]
        if split == "test" and held_out:
            return min(limit or held_out, held_out)
        return limit

    # --- what a run consists of ---

    def needs(self, name: str, artefact: str) -> bool:
        """Whether the method reads ``allocation``, ``transfer`` or ``router``."""
        return artefact in self.method(name).needs

    def has_transfer(self, name: str) -> bool:
        """Whether experts of this run may learn beside a parent."""
        return self.needs(name, "transfer") and self.config_of(name)["transfer"]["enabled"]

    def weighs_parents(self, name: str) -> bool:
        """Whether training accepts a parent only if it lowers the loss."""
        return self.has_transfer(name) and self.config_of(name)["transfer"]["accept"] != "always"

    def matches_allocations(self, name: str) -> bool:
        """Whether the ranks of this run are solved from the size of D-MoLE's experts: if it has no
        allocation, the config wants it so, and there is a run with allocations to be equal to."""
        return (
            self.config_of(name)["match_size"] == "allocations"
            and not self.needs(name, "allocation")
            and bool(self.method(name).trained_tasks(self.tasks(name)))
            and any(self.needs(other, "allocation") for other in self.config["methods"])
        )

    def uses_transfer_at_test(self, name: str) -> bool:
        """Whether parents answer beside their children."""
        routed = self.method(name).routing == "threshold"
        return routed and self.config_of(name)["routing"]["second"] == "parent"

    def states_at_test(self, name: str, task: str) -> list[str]:
        """The tasks whose saved state may answer a test sample of ``task`` at some step."""
        method, tasks = self.method(name), self.tasks(name)
        if method.routing == "threshold":
            return method.trained_tasks(tasks)
        rows = (method.active(step, task, tasks) for step in range(len(tasks) + 1))
        named = {state for row in rows for state in row or []}
        return [state for state in tasks if state in named]

    # --- what a stage of a run reads ---

    def overrides(self, name: str, run: str) -> dict[str, str]:
        """The files that stand in for an artefact of a run, by task."""
        return self.config_of(run)["overrides"].get(name, {})

    def writer(self, name: str, run: str, task: str) -> str:
        """The stage that makes an artefact for a task of a run."""
        overridden = task in self.overrides(name, run)
        return table.OVERRIDES[name] if overridden else table.writer(name)

    def inputs(self, stage: str, job: Job) -> dict[str, list[str]]:
        """The artefacts that a job of a stage reads, each with its tasks."""
        return {name: tasks(job) for name, tasks in STAGES[stage].reads.items()}

    def upstream(self, stage: str, run: str) -> list[str]:
        """The stages whose artefacts a stage of this run reads."""
        found: dict[str, None] = {}
        for task in self.tasks(run):
            for name, tasks in self.inputs(stage, Job(self, run, task)).items():
                if tasks:
                    found[table.writer(name)] = None
                    if self.overrides(name, run):
                        found[table.OVERRIDES[name]] = None
        found.pop(stage, None)  # an earlier task's state
        return list(found)

    def reads(self, stage: str, run: str) -> dict[str, dict]:
        """The config slices that an artefact of this stage depends on, its ancestors' included."""
        if (stage, run) not in self._reads:
            order = {"tasks": self.tasks(run)} if STAGES[stage].ordered else {}
            found = {stage: self.slice_of(stage, run) | order}
            for earlier in self.upstream(stage, run):
                found |= self.reads(earlier, run)
            self._reads[stage, run] = found
        return self._reads[stage, run]

    # --- where things are ---

    def owner(self, stage: str, run: str) -> str:
        """Whose folder a run's artefact of this stage is in: '' (shared), a method, a variant."""
        if not run or STAGES[stage].fixed:
            return ""
        if (stage, run) not in self._owners:
            base = "" if STAGES[stage].shared else self.methods[run]
            same = self.reads(stage, base) == self.reads(stage, run)
            self._owners[stage, run] = base if same else run
        return self._owners[stage, run]

    def scope(self, stage: str, scope: str) -> str:
        """The scope in which a job of ``scope`` finds the artefacts of another stage."""
        seed, run = split_scope(scope)
        seed = "" if STAGES[stage].seedless else seed
        return "/".join(filter(None, (seed, self.owner(stage, run))))

    def path(self, name: str, scope: str, task: str) -> str:
        """Where a job of ``scope`` finds an artefact of a task, below the stream's folder."""
        stage = self.writer(name, split_scope(scope)[1], task)
        return self.file(Made(stage, self.scope(stage, scope), name, task))

    def files(
        self,
        stage: str,
        name: str,
        scope: str,
        task: str,
        transfer: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> list[str]:
        """The files of artefact ``name`` that a job of ``stage`` reads, in stream order."""
        job = Job(self, split_scope(scope)[1], task, transfer)
        return [self.path(name, scope, other) for other in STAGES[stage].reads[name](job)]

    # --- all of it ---

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """(scope, run) of every run under every seed."""
        names = self.config["methods"]
        return [(f"seed{seed}/{run}", run) for seed in self.config["seeds"] for run in names]

    def artefacts(self, run: str) -> list[tuple[str, str, str]]:
        """(stage, artefact, task) of everything behind the answers of a run."""
        if run not in self._jobs:
            self._jobs[run] = list(self._behind(run))
        return self._jobs[run]

    def _behind(self, run: str) -> Iterator[tuple[str, str, str]]:
        waiting = [("predict", task) for task in reversed(self.tasks(run))]
        seen = set()
        while waiting:
            stage, task = waiting.pop()
            if (stage, task) in seen:
                continue
            seen.add((stage, task))
            for name in STAGES[stage].writes:
                if self.writer(name, run, task) == stage:
                    yield stage, name, task
            for name, tasks in self.inputs(stage, Job(self, run, task)).items():
                waiting += [(self.writer(name, run, other), other) for other in reversed(tasks)]

    @cached_property
    def made(self) -> list[Made]:
        """Every artefact behind the answers of all runs; one that runs share stands there once."""
        found: dict[Made, None] = {}
        for scope, run in self.scopes:
            for stage, name, task in self.artefacts(run):
                found[Made(stage, self.scope(stage, scope), name, task)] = None
        return list(found)

    def all_files(self, artefact: str) -> list[str]:
        """The files of an artefact, of all runs, below the stream's folder."""
        return [self.file(made) for made in self.made if made.artefact == artefact]

    def opened_files(self) -> list[str]:
        """All that people open, below the stream's folder."""
        opened = (m for m in self.made if STAGES[m.stage].writes[m.artefact].opened)
        return [self.file(made) for made in opened]

    def file(self, made: Made) -> str:
        """Where an artefact is, below the stream's folder."""
        entry = STAGES[made.stage].writes[made.artefact]
        return str(Path(made.scope, entry.path.format(task=made.task, split=entry.split)))

    def tasks_of(self, stage: str, run: str) -> list[str]:
        """The tasks for which a run uses jobs of a stage, in its order."""
        used = {task for name, _, task in self.artefacts(run) if name == stage}
        return [task for task in self.tasks(run) if task in used]

    def slice_of(self, stage: str, name: str, task: str | None = None) -> dict:
        """The config slice of a stage; with ``task``, without the overrides of other tasks."""
        config, keys = self.config_of(name), STAGES[stage].config
        if stage == "route_samples":
            keys = (self.method(name).routing_key,)
        part = slice_config(config, *keys)
        if "overrides" in part and task:
            part["overrides"] = {k: _of_task(v, task) for k, v in part["overrides"].items()}
        if stage == "train_expert":
            options, method = config["method_options"], self.methods[name]
            part["method_options"] = {method: options[method]} if method in options else {}
            if not self.has_transfer(name):
                del part["transfer"]
            if task:
                per_task = _of_task(part["training"]["per_task"], task)
                part["training"] = part["training"] | {"per_task": per_task}
        return part


def _of_task(by_task: Mapping, task: str) -> dict:
    return {key: value for key, value in by_task.items() if key == task}


def split_scope(scope: str) -> tuple[str, str]:
    """``seed0/dmole`` as ``("seed0", "dmole")``; either part may be missing, and is then ''."""
    first, _, rest = scope.partition("/")
    return (first, rest) if re.fullmatch(r"seed\d+", first) else ("", first)

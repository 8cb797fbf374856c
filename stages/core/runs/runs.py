"""Which config keys each stage reads, and in whose folder an artefact therefore lives.

A run is a name from ``methods``: a method, or a variant of one. Its artefacts live in a *scope*:
``seed0`` for what all methods share, ``seed0/dmole`` for a method's own, ``seed0/half_budget`` for
what a variant changes. A variant uses the plain method's artefact of a stage as long as nothing
that this stage or a stage before it reads is changed. Nothing here imports torch.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from stages.core.base.config import slice_config, with_variant
from stages.core.base.errors import InputError, unknown
from stages.core.data.manifests import Manifest, load_manifest
from stages.methods.registry import load, names

BACKBONE_KEYS = ("backbone.revision", "backbone.dtype", "backbone.image_size", "backbone.max_tiles")

STAGE_KEYS: dict[str, tuple[str, ...]] = {
    "sample_subset": ("subset",),
    "profile_gradients": ("profile", *BACKBONE_KEYS),
    "allocate_experts": (
        "budget",
        "allocation",
        "expert.rank",
        "expert.alpha",
        "profile.loss",
        "profile.include_bias",
    ),
    "extract_features": ("features", *BACKBONE_KEYS),
    "fit_router": ("router", "threshold"),
    "choose_parent": ("transfer",),
    "train_expert": ("expert", "training", "budget.ratio", *BACKBONE_KEYS),
    "route_samples": ("routing",),
    "predict_backbone": ("prediction", *BACKBONE_KEYS),
    "predict": ("prediction", *BACKBONE_KEYS),
    "score": ("score",),
}
"""The only table of what a stage reads: its ``--config`` is this slice, and an edit of another
key does not rerun it. ``train_expert`` also gets its method's entry of ``method_options``;
routes of a method without routers read nothing."""

SHARED = (
    "sample_subset",
    "profile_gradients",
    "allocate_experts",
    "extract_features",
    "fit_router",
    "choose_parent",
    "predict_backbone",
)
"""Stages that are the same for every method, so that methods share what they write."""

SEEDLESS = ("predict_backbone",)
"""Stages that no seed changes, so that seeds share what they write too."""

ORDERED = ("choose_parent", "train_expert", "route_samples")
"""Stages whose artefacts depend on the order of the tasks, which a variant may change."""


class Runs:
    """The runs of a completed config, and where each finds and puts its artefacts."""

    def __init__(self, config: dict) -> None:
        self.config = config
        self._configs: dict[str, dict] = {}
        self._manifests: dict[str, Manifest] = {}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Every name that can be run, and the method behind it.

        Raises:
            InputError: unknown method or variant, or a variant that hides a method.
        """
        known = {name: name for name in names()}
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

    def method(self, name: str):  # noqa: ANN201 - a stages.methods.base.Method
        """The method behind a run."""
        return load(self.methods[name])

    def config_of(self, name: str) -> dict:
        """The config under which a run's own stages work; '' is the unchanged config."""
        if name not in self._configs:
            self._configs[name] = with_variant(self.config, name)
        return self._configs[name]

    def tasks(self, name: str) -> list[str]:
        """The stream of a run, in its own order."""
        return self.config_of(name)["tasks"]

    def check(self) -> None:
        """Look at everything that can be wrong before the first job.

        Raises:
            InputError: names, a variant that changes a key of no stage or has other tasks,
                missing manifests.
        """
        for method in self.config["method_options"]:
            if method not in names():
                raise unknown("method", method, names(), "method_options")
        for name in self.methods:
            self.method(name).settings(self.config_of(name))
            if self.uses_transfer_at_test(name) and not self.has_transfer(name):
                raise InputError(
                    f"{name}: routing.second is 'parent', but there are no parents, because "
                    "transfer.enabled is false; set routing.second to rank or none."
                )
            if sorted(self.tasks(name)) != sorted(self.config["tasks"]):
                raise InputError(
                    f"variants.{name}.set.tasks: must be the stream's tasks in another order: "
                    f"{', '.join(self.config['tasks'])}."
                )
        changeable = {key for keys in STAGE_KEYS.values() for key in keys}
        changeable |= {"method_options", "tasks", "match_size"}
        for variant, change in self.config["variants"].items():
            for key in change["set"]:
                if not any(f"{key}.".startswith(f"{top}.") for top in changeable):
                    raise unknown("key", key, changeable, f"variants.{variant}.set")
        for task in self.config["training"]["per_task"]:
            if task not in self.config["tasks"]:
                raise unknown("task", task, self.config["tasks"], "training.per_task")
        for task in self.config["tasks"]:
            self.manifest(task)

    def manifest(self, task: str) -> Manifest:
        """A task's checked manifest.

        Raises:
            InputError: no such task (near miss suggested), or a faulty manifest.
        """
        if task not in self._manifests:
            path = Path(self.config["manifests"], f"{task}.yaml")
            if not path.is_file():
                found = (other.stem for other in path.parent.glob("*.yaml"))
                raise unknown("task", task, found, f"tasks (manifests in {path.parent})")
            root = self.config["data_root"]
            if root and not Path(root).is_dir():
                raise InputError(f"data_root: there is no folder {root!r}.")
            self._manifests[task] = load_manifest(path, root)
        return self._manifests[task]

    # --- what a run consists of ---

    def needs(self, name: str, artefact: str) -> bool:
        """Whether the method reads ``allocation``, ``transfer`` or ``router``."""
        return artefact in self.method(name).needs

    def has_transfer(self, name: str) -> bool:
        """Whether experts of this run may learn beside a parent."""
        return self.needs(name, "transfer") and self.config_of(name)["transfer"]["enabled"]

    def matches_allocations(self, name: str) -> bool:
        """Whether the ranks of this run are solved from the allocations of D-MoLE: if it has none
        of its own, the config wants it so, and there is a run with allocations to be equal to."""
        return (
            self.config_of(name)["match_size"] == "allocations"
            and not self.needs(name, "allocation")
            and bool(self.method(name).trained_tasks(self.tasks(name)))
            and any(self.needs(other, "allocation") for other in self.config["methods"])
        )

    def uses_transfer_at_test(self, name: str) -> bool:
        """Whether routing looks at the parents."""
        routed = self.method(name).routing == "threshold"
        return routed and self.config_of(name)["routing"]["second"] == "parent"

    def tasks_of(self, stage: str, name: str) -> list[str]:
        """The tasks for which a run has jobs of a stage."""
        tasks = self.tasks(name)
        if stage in ("profile_gradients", "allocate_experts"):
            return tasks if self.reads_allocations(name) else []
        if stage == "fit_router":
            return tasks if self.needs(name, "router") else []
        if stage == "choose_parent":
            return tasks if self.has_transfer(name) else []
        return self.method(name).trained_tasks(tasks) if stage == "train_expert" else tasks

    def reads_allocations(self, name: str) -> bool:
        """Whether training of this run looks at allocations, for its slots or for its size."""
        return self.needs(name, "allocation") or self.matches_allocations(name)

    def states_at_test(self, name: str, task: str) -> list[str]:
        """The tasks whose saved state may answer a test sample of ``task`` at some step."""
        method, tasks = self.method(name), self.tasks(name)
        if method.routing == "threshold":
            return method.trained_tasks(tasks)
        rows = (method.active(step, task, tasks) for step in range(len(tasks) + 1))
        named = {state for row in rows for state in row or []}
        return [state for state in tasks if state in named]

    def upstream(self, stage: str, name: str) -> tuple[str, ...]:
        """The stages whose artefacts a stage of this run reads (data and backbone apart)."""
        if stage == "train_expert":
            allocated = ("allocate_experts",) if self.reads_allocations(name) else ()
            return (*allocated, *(("choose_parent",) if self.has_transfer(name) else ()))
        if stage == "route_samples":
            routers = ("fit_router",) if self.needs(name, "router") else ()
            return (*routers, *(("choose_parent",) if self.uses_transfer_at_test(name) else ()))
        return {
            "profile_gradients": ("sample_subset",),
            "allocate_experts": ("profile_gradients",),
            "extract_features": ("sample_subset",),
            "fit_router": ("extract_features",),
            "choose_parent": ("fit_router", "extract_features"),
            "predict": ("predict_backbone", "route_samples", "train_expert"),
        }.get(stage, ())

    def reads(self, stage: str, name: str) -> dict[str, dict]:
        """The config slices that an artefact of this stage depends on, its ancestors' included."""
        order = {"tasks": self.tasks(name)} if stage in ORDERED else {}
        found = {stage: self.slice_of(stage, name) | order}
        for earlier in self.upstream(stage, name):
            found |= self.reads(earlier, name)
        return found

    # --- where things are ---

    def owner(self, stage: str, name: str) -> str:
        """Whose folder a run's artefact of this stage is in: '' (shared), a method, a variant."""
        base = "" if stage in SHARED else self.methods[name]
        return base if self.reads(stage, base) == self.reads(stage, name) else name

    def scope(self, stage: str, scope: str) -> str:
        """The scope in which a job of ``scope`` finds the artefacts of another stage."""
        seed, name = split_scope(scope)
        owner = self.owner(stage, name) if name else ""
        return "/".join(filter(None, ("" if stage in SEEDLESS else seed, owner)))

    def features_owner(self, name: str) -> str:
        """Like :meth:`owner` for the features of test rows, which depend on no subset."""
        stage = "extract_features"
        same = self.slice_of(stage, "") == self.slice_of(stage, name)
        return "" if same else name

    def slice_of(self, stage: str, name: str, task: str | None = None) -> dict:
        """The config slice of a stage; with ``task``, without the overrides of other tasks."""
        if stage == "route_samples" and self.method(name).routing == "static":
            return {}  # the same experts for every sample: there is nothing to set
        config = self.config_of(name)
        part = slice_config(config, *STAGE_KEYS[stage])
        if stage == "train_expert":
            options, method = config["method_options"], self.methods[name]
            part["method_options"] = {method: options[method]} if method in options else {}
            if task:
                part["training"] = _of_task(part["training"], task)
        return part


def _of_task(training: Mapping, task: str) -> dict:
    mine = {key: value for key, value in training["per_task"].items() if key == task}
    return {**training, "per_task": mine}


def split_scope(scope: str) -> tuple[str, str]:
    """``seed0/dmole`` as ``("seed0", "dmole")``; either part may be missing, and is then ''."""
    first, _, rest = scope.partition("/")
    return (first, rest) if re.fullmatch(r"seed\d+", first) else ("", first)

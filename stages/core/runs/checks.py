"""Everything of a configuration that can be checked before the first job."""

from __future__ import annotations

from pathlib import Path

from stages.core.backbone import quantization
from stages.core.base.config import UNTRACKED
from stages.core.base.errors import InputError, unknown
from stages.core.dmole.decisions import read_decision
from stages.core.runs.run_sheet import labels_of
from stages.core.runs.runs import Runs
from stages.core.runs.stage_table import STAGES
from stages.core.training.batches import micro_batch_size
from stages.core.training.tracking import check_installed
from stages.methods.registry import names


def check_runs(runs: Runs) -> None:
    """Check names, variants, folders, batches, manifests and labels.

    Raises:
        InputError: names the key, what came and what is allowed.
    """
    config = runs.config
    for method in config["method_options"]:
        if method not in names():
            raise unknown("method", method, names(), "method_options")
    for name in runs.methods:
        _check_run(runs, name)
    _check_changes(config["variants"])
    _check_output(Path(config["output"]))
    check_installed(config["training"]["report_to"])
    for name in ("", *config["variants"]):
        _check_batches(runs, name)
        changed = runs.config_of(name)
        quantization.check(changed["backbone"]["quantization"], changed["training"]["sharding"])
        _check_overrides(runs, name)
    for task in config["training"]["per_task"]:
        if task not in config["tasks"]:
            raise unknown("task", task, config["tasks"], "training.per_task")
    for task in config["tasks"]:
        runs.manifest(task)
    labels_of(runs)


def _check_run(runs: Runs, name: str) -> None:
    """A method's options, its parents, and the order of its tasks."""
    runs.method(name).settings(runs.config_of(name))
    if runs.uses_transfer_at_test(name) and not runs.has_transfer(name):
        raise InputError(
            f"{name}: routing.second is 'parent', but there are no parents, because "
            "transfer.enabled is false; set routing.second to rank or none."
        )
    features = runs.config_of(name)["features"]
    style = features["style"]
    if style == "meaning" and features["text"] != "question":
        raise InputError(
            f"{name}: features.text {features['text']} is for features.style max; style meaning "
            "puts the request into a sentence of its own."
        )
    if runs.config_of(name)["router"]["kind"] == "neighbours" and style != "meaning":
        raise InputError(
            f"{name}: router.kind neighbours needs features.style meaning, not {style}."
        )
    if sorted(runs.tasks(name)) != sorted(runs.config["tasks"]):
        raise InputError(
            f"variants.{name}.set.tasks: must be the stream's tasks in another order: "
            f"{', '.join(runs.config['tasks'])}."
        )


def _check_overrides(runs: Runs, name: str) -> None:
    """Files in place of artefacts, of a variant or of the plain configuration (''), as far as
    that needs no backbone."""
    tasks = runs.tasks(name)
    for artefact, files in runs.config_of(name)["overrides"].items():
        place = f"variants.{name}: overrides.{artefact}" if name else f"overrides.{artefact}"
        for task, file in files.items():
            if task not in tasks:
                raise unknown("task", task, tasks, place)
            try:
                read_decision(artefact, Path(file), task, tasks[: tasks.index(task)])
            except InputError as error:
                raise InputError(f"{place}.{task}: {error}") from None


def _check_changes(variants: dict) -> None:
    """Variants change keys of stages that a variant can have of its own."""
    changeable = {key for stage in STAGES.values() if not stage.fixed for key in stage.config}
    changeable |= {"method_options", "tasks", "match_size"}
    for variant, change in variants.items():
        for key in change["set"]:
            seen = any(f"{key}.".startswith(f"{top}.") for top in changeable)
            if key in UNTRACKED or not seen:
                raise unknown("key", key, changeable, f"variants.{variant}.set")


def _check_output(folder: Path) -> None:
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise InputError(f"output: {part} is a file; name a folder.")


def _check_batches(runs: Runs, name: str) -> None:
    """Of a variant, or of the plain configuration ('')."""
    training, gpus = runs.config_of(name)["training"], runs.config["gpus"]
    processes = gpus["training"]
    if processes % gpus["nodes"]:
        raise InputError(f"gpus.training {processes}: must be a multiple of gpus.nodes.")
    place = f"variants.{name}: training" if name else "training"
    micro_batch_size(training, processes, place)
    for task, changes in training["per_task"].items():
        micro_batch_size(training | changes, processes, f"{place}.per_task.{task}")

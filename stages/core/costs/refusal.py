"""Batches that a GPU of a known size cannot hold, found before the first job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core.base.config import set_key
from stages.core.base.errors import InputError
from stages.core.costs.estimate import Forecast, Machine, is_plain
from stages.core.costs.fitting import GB
from stages.core.costs.gpus import Gpu
from stages.core.costs.whole import workload_of
from stages.core.costs.workload import Ruler
from stages.core.runs.runs import Runs

KEYS = {
    "train_expert": "training.micro_batch_size",
    "profile_gradients": "profile.batch_size",
    "extract_features": "features.batch_size",
    "predict_backbone": "prediction.batch_size",
    "predict": "prediction.batch_size",
}
CHECKPOINTING = "training.activation_checkpointing"


def check_memory(runs: Runs) -> None:
    """Hold every stage of every run against ``gpus.memory``, with rows of their mean size.

    Trainings of methods that learn more than plain experts are not looked at.

    Raises:
        InputError: one does not fit; names run, task and stage, and what would fit.
    """
    from stages.core.backbone.architecture import read_architecture
    from stages.core.backbone.load import load_prompter

    folder = Path(runs.config["backbone"]["path"])
    if not (folder / "config.json").is_file():
        return  # a rule makes it, or it is on the hub
    arch, family = read_architecture(folder, runs.config["backbone"])
    ruler = Ruler(family, load_prompter(folder, family))
    gpus = runs.config["gpus"]
    machine = Machine("", Gpu(1.0, GB * gpus["memory"], 1.0), gpus["training"], 1.0)
    freely = Runs(_all_automatic(runs.config))
    splits = ("train", "test")
    sizes = {
        task: [workload_of(runs, task, split, ruler) for split in splits]
        for task in runs.config["tasks"]
    }
    for run in (name for name in runs.methods if is_plain(runs.method(name))):
        asked, free = (
            Forecast(of, run, arch, machine, family.thumbnail_tiles) for of in (runs, freely)
        )
        for task, both in sizes.items():
            for stage, entry in asked.task(task, *both)["stages"].items():
                if not entry["fits"]:
                    other = free.task(task, *both)["stages"][stage]
                    raise InputError(_refusal(f"{run}, {task}, {stage}", stage, entry, other, gpus))


def _all_automatic(config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with every batch size chosen by memory."""
    for key in (*KEYS.values(), CHECKPOINTING):
        config = set_key(config, key, "auto")
    return set_key(config, "training.per_task", _without_sizes(config["training"]["per_task"]))


def _without_sizes(per_task: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        task: {key: value for key, value in changes.items() if key != "micro_batch_size"}
        for task, changes in per_task.items()
    }


def _refusal(
    place: str, stage: str, entry: dict[str, Any], other: dict[str, Any], gpus: dict[str, Any]
) -> str:
    size, need = entry["at_a_time"], entry["memory"]["total"] / GB
    said = (
        f"{place}: {size} samples at a time need {need:.1f} GB, the GPU has {gpus['memory']:g} GB "
        "(gpus.memory)."
    )
    if not other["fits"]:
        return f"{said} Nor does one sample fit; lower backbone.max_tiles, or take a larger GPU."
    again = f" and {CHECKPOINTING}: on" if other["checkpointing"] else ""
    return f"{said} {KEYS[stage]}: {other['at_a_time']}{again} would fit, as auto chooses."

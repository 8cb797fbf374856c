"""Into how many jobs the answers to a task's test rows are divided: key ``prediction.shards``.

``auto`` follows from configuration, manifest and the backbone's shape alone, so that the number is
known before any row is prepared and stays what it is while a run goes on.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.costs.gpus import GPUS
from stages.core.costs.workload import Ruler, Workload, described
from stages.core.runs.runs import Runs

if TYPE_CHECKING:
    from stages.core.backbone.architecture import Architecture
    from stages.core.backbone.families.base import Family

HOURS = 4  # of a job at most, as planned on the GPU below; a slower one has till 12, the time limit
GPU, MFU = "a100", 0.25  # as `cmit plan` assumes them


def shards(runs: Runs, stage: str, run: str, task: str) -> int:
    """Jobs that divide what ``predict`` or ``predict_backbone`` answers of a task.

    Raises:
        InputError: ``auto`` where the number of test rows or the backbone's shape is unknown.
    """
    asked = runs.config["prediction"]["shards"]
    return int(asked) if asked != "auto" else _automatic(runs, stage, run, task)


def _automatic(runs: Runs, stage: str, run: str, task: str) -> int:
    from stages.core.costs.estimate import Machine, answer, sets_per_sample
    from stages.core.costs.flops import Learning

    config, manifest = runs.config_of(run), runs.manifest(task)
    arch, family = _shape(config["backbone"]["path"], _frozen(config["backbone"]))
    size = Ruler(family, None).typical(described(manifest, "test"))
    rows = _rows(manifest.content["test"].get("rows"), runs.row_limit("test"), str(manifest.path))
    backbone = stage == "predict_backbone"
    which = config["prediction"]["steps"]
    sets = 1 if backbone else sets_per_sample(runs.method(run), task, config["tasks"], which)
    one = answer(
        arch,
        Machine(GPU, GPUS[GPU], 1, MFU),
        Workload(rows, "assumed", **size),
        manifest.task["max_new_tokens"],
        Learning(),  # experts are small beside the backbone
        config["prediction"]["batch_size"],
    )
    hours = rows * sets * one.hours / config["gpus"]["inference"]
    return max(math.ceil(hours / HOURS), 1)


def _rows(told: int | None, limit: int | None, manifest: str) -> int:
    known = [number for number in (told, limit) if number]
    if not known:
        raise InputError(
            f"{manifest}: test: prediction.shards auto needs to know how many rows there are. Say "
            "so in the manifest (rows), limit them in the configuration (rows.test), or give a "
            "number of shards."
        )
    return min(known)


def _frozen(settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(settings.items()))


@cache
def _shape(path: str, settings: tuple[tuple[str, Any], ...]) -> tuple[Architecture, Family]:
    from stages.core.backbone.architecture import locate, read_architecture

    try:
        folder: Path = locate(path)
    except InputError as error:
        raise InputError(f"prediction.shards auto: {error} Or give a number of shards.") from None
    return read_architecture(folder, dict(settings))

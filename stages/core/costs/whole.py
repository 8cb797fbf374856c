"""What a whole run will cost: its tasks together, published hours beside them, jobs, what is last.

Assumption, marked below: how long the CPU takes for an image.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.config import set_key
from stages.core.costs.estimate import Forecast, Machine
from stages.core.costs.gpus import GPUS
from stages.core.costs.queue import jobs, learns_in_turn
from stages.core.costs.shards import shards
from stages.core.costs.workload import Ruler, Workload, workload
from stages.core.runs.runs import Runs

if TYPE_CHECKING:
    from stages.core.backbone.architecture import Architecture

PUBLISHED = "published_hours.csv"  # beside the manifests: wall-clock hours of training
TILE_SECONDS = 0.013  # ASSUME: of one CPU, to decode and cut an image, per tile
OTHER_KEYS = (
    ("", None),
    ("training.activation_checkpointing", True),
    ("backbone.quantization", "4bit"),
    ("training.sharding", "fsdp"),
)
WORKERS = 7  # loading processes of a training process, see core.training.loader


def plan_run(
    runs: Runs, run: str, arch: Architecture, ruler: Ruler, machine: Machine, wait: float
) -> dict[str, Any]:
    """All tasks of a run with totals, the published hours where there are any, and the jobs.

    Args:
        wait: minutes that a SLURM job is assumed to wait in the queue.
    """
    config = runs.config
    found = Forecast(runs, run, arch, machine, ruler.family.thumbnail_tiles)
    published = _published(Path(config["manifests"]), runs.methods[run])
    tasks = []
    for name in config["tasks"]:
        sizes = [workload_of(runs, name, split, ruler) for split in ("train", "test")]
        tasks.append(found.task(name, *sizes) | _beside(published, name))
    for task in tasks:
        if task["published"]:
            task["implied_mfu"] = _implied_mfu(task, task["published"])
    return {
        "method": run,
        "backbone": {"name": arch.name, "parameters": arch.parameters, "slots": len(arch.slots)},
        "machine": {"gpu": machine.name, "gpus": machine.gpus, "mfu": machine.mfu}
        | {"memory": machine.gpu.memory},
        "tasks": tasks,
        "kilowatt_hours": _energy(tasks, machine),
        "other_keys": other_keys(runs, run, arch, machine, tasks),
        "jobs": (queued := jobs(runs, wait)),
        "path": longest_path(runs, run, tasks, queued),
    }


def _energy(tasks: list[dict[str, Any]], machine: Machine) -> float:
    """What the boards take if they always take their most."""
    hours = sum(stage["gpu_hours"] for task in tasks for stage in task["stages"].values())
    return hours * machine.gpu.watts / 1000


def fullness(stage: dict[str, Any]) -> tuple[bool, float]:
    """By which the fullest task of a stage is found: one that must checkpoint comes first."""
    return stage["checkpointing"], stage["memory"]["total"]


def other_keys(
    runs: Runs, run: str, arch: Architecture, machine: Machine, tasks: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Memory of the fullest training as configured and with keys that lower it."""
    trained = [task for task in tasks if "train_expert" in task["stages"]]
    if not trained:
        return []
    fullest = max(trained, key=lambda task: fullness(task["stages"]["train_expert"]))
    sizes, found = [Workload(**fullest[split]) for split in ("train", "test")], []
    for key, value in OTHER_KEYS if machine.gpus > 1 else OTHER_KEYS[:-1]:
        config = set_key(runs.config, key, value) if key else runs.config
        stages = Forecast(Runs(config), run, arch, machine).task(fullest["task"], *sizes)["stages"]
        found.append({"key": key, "value": value} | stages["train_expert"])
    return found


def workload_of(runs: Runs, task: str, split: str, ruler: Ruler) -> Workload:
    """The size of a split's rows."""
    config = runs.config
    prepared = Path(config["output"], config["stream"], "data", task, f"{split}.parquet")
    return workload(
        runs.manifest(task),
        split,
        prepared,
        ruler,
        limit=runs.row_limit(split),
        max_pixels=config["max_pixels"],
        exif=config["image"]["exif"],
    )


def _published(folder: Path, method: str) -> dict[str, str]:
    """The row of a method in the table beside the manifests; empty if there is none."""
    file = folder / PUBLISHED
    if not file.is_file():
        return {}
    with file.open(newline="") as handle:
        rows = {row["method"]: row for row in csv.DictReader(handle)}
    return rows.get(method, {})


def _beside(published: dict[str, str], task: str) -> dict[str, Any]:
    if not published.get(task):
        return {"published": None}
    place = {"gpu": published["gpu"], "gpus": int(published["gpus"])}
    return {"published": place | {"hours": float(published[task])}}


def _implied_mfu(task: dict[str, Any], published: dict[str, Any]) -> float:
    """The model FLOPs utilisation at which our operations take the published time."""
    seconds = 3600 * published["hours"] * published["gpus"]
    return task["stages"]["train_expert"]["flops"] / (seconds * GPUS[published["gpu"]].flops)


# --- what is last -----------------------------------------------------------------------------


def longest_path(
    runs: Runs, run: str, tasks: list[dict[str, Any]], queued: dict[str, Any]
) -> dict[str, Any]:
    """Hours from start to end if no job has to wait for a free GPU, by what they are spent on.

    Before the first training lies the longest of the stages that it waits for, after the last one
    its answers. Trainings follow each other where each may need the one before.
    """
    ahead = [
        max((task["stages"].get(stage, {}).get("gpu_hours", 0.0) for task in tasks), default=0.0)
        for stage in ("profile_gradients", "extract_features")
    ]
    training = [task["training_hours"] for task in tasks]
    parts = {
        "before": max(ahead),
        "training": sum(training) if learns_in_turn(runs, run) else max(training),
        "answers": max(
            task["stages"][stage]["gpu_hours"] / shards(runs, stage, run, task["task"])
            for task in tasks
            for stage in ("predict", "predict_backbone")
        ),
        "queue": queued["waiting_on_longest_chain"] / 60,
    }
    longest = max(parts, key=lambda part: parts[part])
    slow = longest == "training" and any(map(_loader_is_slower, tasks))
    return {
        "hours": parts | {"all": sum(parts.values())},
        "bottleneck": "loader" if slow else longest,
    }


def _loader_is_slower(task: dict[str, Any]) -> bool:
    """Whether the loading processes need longer for a row than the GPU."""
    stage = task["stages"].get("train_expert")
    if not stage:
        return False
    computing = 3600 * stage["gpu_hours"] / stage["samples"]
    return task["train"]["tiles"] * TILE_SECONDS / WORKERS > computing

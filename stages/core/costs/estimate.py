"""What a run will cost: operations, GPU-hours and memory of every task, jobs of the whole.

Assumptions, each marked below: which slots an expert gets before there is a profile, that every
expert but the first learns beside one parent, that one set of experts answers a test sample.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.slots import Slot
from stages.core.base.artifacts import read_json
from stages.core.base.errors import InputError
from stages.core.base.sampling import subset_size
from stages.core.costs import flops, memory
from stages.core.costs.flops import Gpu, Learning, Sample
from stages.core.costs.queue import jobs
from stages.core.costs.workload import Ruler, Workload, workload
from stages.core.runs.runs import Runs
from stages.core.training.batches import micro_batch_size

if TYPE_CHECKING:
    from stages.core.backbone.architecture import Architecture
    from stages.methods.base import Method

SETS_PER_SAMPLE = 1  # ASSUME: its task's expert, from the step on at which that is learnt
PUBLISHED = "published_hours.csv"  # beside the manifests: wall-clock hours of training


@dataclass(frozen=True)
class Machine:
    """On what a run is planned: ``gpus`` of one kind per training job, one for every other job,
    at ``mfu`` of their peak."""

    name: str
    gpu: Gpu
    gpus: int
    mfu: float

    def hours(self, operations: float, traffic: float = 0.0) -> float:
        """GPU-hours: what computing takes, or moving memory if that is longer."""
        return max(operations / (self.gpu.flops * self.mfu), traffic / self.gpu.bandwidth) / 3600


class Forecast:
    """Forecast of the tasks of one run (a method or a variant)."""

    def __init__(self, runs: Runs, run: str, arch: Architecture, machine: Machine) -> None:
        """Raises :class:`InputError` if the method learns more than plain LoRA experts."""
        self.runs, self.run, self.arch, self.machine = runs, run, arch, machine
        self.config, self.method = runs.config_of(run), runs.method(run)
        _check_plain(self.method, run)

    def ranks(self, task: str) -> flops.SlotRanks:
        """Rank of every slot of a task's expert, by its allocation if that has been made."""
        from stages.core.experts.job import Job

        config, slots = self.config, list(self.arch.slots)
        scope = f"seed{config['seeds'][0]}/{self.run}"
        made_at = self.runs.path("allocation", scope, task)
        file = Path(config["output"], config["stream"], made_at)
        made = file.is_file() and self.runs.needs(self.run, "allocation")
        allocation = read_json("allocation", file) if made else assumed_allocation(config, slots)
        return self.method.ranks(Job(task, config["tasks"], config, slots, allocation, None))

    def learning(self, task: str) -> Learning:
        """The expert that learns and, ASSUME for every task but the first, a parent's like it."""
        parent = self.runs.has_transfer(self.run) and task != self.config["tasks"][0]
        ranks = self.ranks(task)
        return Learning(ranks, ranks if parent else {})

    def task(self, task: str, train: Workload, test: Workload) -> dict[str, Any]:
        """All of one task: sizes, steps, operations and GPU-hours per stage, memory."""
        settings = self.config["training"] | self.config["training"]["per_task"].get(task, {})
        steps = math.ceil(train.rows / settings["batch_size"]) * settings["epochs"]
        stages = self._stages(task, train, test, settings["epochs"])
        training = stages.get("train_expert", {"gpu_hours": 0.0})
        return {
            "task": task,
            "train": asdict(train),
            "test": asdict(test),
            "epochs": settings["epochs"],
            "batch_size": settings["batch_size"],
            "steps": math.ceil(steps),
            "stages": stages,
            "training_hours": training["gpu_hours"] / self.machine.gpus,
            "memory": self._memory(task, train, settings),
        }

    def _stages(
        self, task: str, train: Workload, test: Workload, epochs: float
    ) -> dict[str, dict[str, Any]]:
        subset = subset_size(train.rows, **self.config["subset"])
        sample = Sample(train.tiles, train.tokens, train.answer)
        found = {}
        if self.runs.needs(self.run, "allocation"):
            found["profile_gradients"] = self._step(sample, Learning(dense=True), subset)
        if self.runs.needs(self.run, "router"):
            found["extract_features"] = self._features(train, subset, test)
        if task in self.method.trained_tasks(self.config["tasks"]):
            found["train_expert"] = self._step(sample, self.learning(task), train.rows * epochs)
        found["predict_backbone"] = self._prediction(task, test, Learning())
        found["predict"] = self._prediction(task, test, Learning(frozen=self.ranks(task)))
        return found

    def _step(self, sample: Sample, learning: Learning, samples: float) -> dict[str, Any]:
        """Forward and backward of so many samples."""
        ahead = flops.forward(self.arch, sample, learning)
        back = flops.backward(self.arch, sample, learning)
        operations = samples * (flops.total(ahead) + flops.total(back))
        return {
            "samples": samples,
            "forward_per_sample": ahead,
            "backward_per_sample": back,
            "flops": operations,
            "gpu_hours": self.machine.hours(operations),
        }

    def _features(self, train: Workload, subset: int, test: Workload) -> dict[str, Any]:
        """The subset's rows and all test rows, one tile and the bare question each."""
        parts = ((subset, train), (test.rows, test))
        operations = sum(
            rows * flops.total(flops.features(self.arch, min(size.images, 1), size.question))
            for rows, size in parts
        )
        return {
            "samples": subset + test.rows,
            "flops": operations,
            "gpu_hours": self.machine.hours(operations),
        }

    def _prediction(self, task: str, test: Workload, learning: Learning) -> dict[str, Any]:
        """One generation per sample and set of experts, or one without any."""
        samples = test.rows * (self._sets(task) if learning.frozen else 1)
        ahead = flops.forward(self.arch, Sample(test.tiles, test.prompt, 1), learning)
        new = min(test.answer, self.runs.manifest(task).task["max_new_tokens"])
        decoding = flops.decoding(self.arch, test.prompt, new, learning)
        traffic = flops.decoding_bytes(
            self.arch, test.prompt, new, self.config["prediction"]["batch_size"]
        )
        hours = self.machine.hours(flops.total(ahead))
        hours += self.machine.hours(flops.total(decoding), traffic)
        return {
            "samples": samples,
            "prompt_per_sample": ahead,
            "decoding_per_sample": decoding,
            "flops": samples * (flops.total(ahead) + flops.total(decoding)),
            "gpu_hours": samples * hours,
        }

    def _sets(self, task: str) -> int:
        """Sets of experts that answer a sample of a task over all steps of the stream."""
        if self.method.routing == "threshold":
            return SETS_PER_SAMPLE
        tasks = self.config["tasks"]
        active = (self.method.active(step, task, tasks) for step in range(len(tasks) + 1))
        return len({tuple(names) for names in active if names})

    def _memory(self, task: str, train: Workload, settings: dict[str, Any]) -> dict[str, float]:
        """Bytes per GPU of a training step at the configured micro batch."""
        micro = micro_batch_size(settings, self.machine.gpus)
        sample, learning = Sample(train.tiles, train.tokens, train.answer), self.learning(task)
        kept, saved = (
            micro
            * memory.activations(
                self.arch,
                sample,
                learning,
                dropout=self.config["expert"]["dropout"],
                checkpointing=checkpointing,
            )
            for checkpointing in (False, True)
        )
        expert = memory.expert_parameters(self.arch, learning.trained)
        beside = memory.FROZEN_BYTES * expert if learning.frozen else 0
        fixed = 2 * self.arch.parameters + memory.MASTER_BYTES * expert + beside
        return {
            "micro_batch_size": micro,
            "weights": 2 * self.arch.parameters,
            "expert_parameters": expert,
            "expert_and_optimiser": memory.MASTER_BYTES * expert + beside,
            "activations": kept,
            "activations_checkpointed": saved,
            "total": fixed + kept,
            "total_checkpointed": fixed + saved,
        }


def assumed_allocation(config: dict[str, Any], slots: Sequence[Slot]) -> dict[str, Any]:
    """An allocation before there is a profile: ASSUME that all slots matter alike, and an even
    spread over the depth where gradients would decide."""
    from stages.core.dmole.allocation import allocate_experts

    alike = [{"tower": s.tower, "block": s.block, "slot": s.kind, "score": 1.0} for s in slots]
    strategy = config["allocation"]["strategy"]
    return allocate_experts(
        alike,
        {f"{s.tower}.{s.block}.{s.kind}": s.shapes for s in slots},
        "assumed",
        0,
        budget=config["budget"],
        allocation={"strategy": "uniform" if strategy == "gradient" else strategy},
        profile=config["profile"],
        expert=config["expert"],
    )


def _check_plain(method: Method, run: str) -> None:
    from stages.methods.base import Method
    from stages.methods.dmole import DMoLE

    kind = type(method)
    same = all(getattr(kind, name) is getattr(Method, name) for name in ("rows", "fit", "loss"))
    if not same or kind.prepare not in (Method.prepare, DMoLE.prepare):
        raise InputError(
            f"{run}: a plan counts plain LoRA experts, each learning from its task's rows; "
            f"{method.name} trains otherwise. Name dmole, seq_ft, individual or a variant of one "
            "with --method."
        )


# --- the whole run ----------------------------------------------------------------------------


def plan_run(
    runs: Runs, run: str, arch: Architecture, ruler: Ruler, machine: Machine, wait: float
) -> dict[str, Any]:
    """All tasks of a run with totals, the published hours where there are any, and the jobs.

    Args:
        wait: minutes that a SLURM job is assumed to wait in the queue.
    """
    config, found = runs.config, Forecast(runs, run, arch, machine)
    published = _published(Path(config["manifests"]), runs.methods[run])
    tasks = []
    for name in config["tasks"]:
        sizes = [_workload(runs, name, split, ruler) for split in ("train", "test")]
        tasks.append(found.task(name, *sizes) | _beside(published, name))
    for task in tasks:
        if task["published"]:
            task["implied_mfu"] = _implied_mfu(task, task["published"])
    return {
        "method": run,
        "backbone": {"name": arch.name, "parameters": arch.parameters, "slots": len(arch.slots)},
        "machine": {"gpu": machine.name, "gpus": machine.gpus, "mfu": machine.mfu},
        "tasks": tasks,
        "jobs": jobs(runs, wait),
    }


def _workload(runs: Runs, task: str, split: str, ruler: Ruler) -> Workload:
    config = runs.config
    prepared = Path(config["output"], config["stream"], "data", task, f"{split}.parquet")
    return workload(
        runs.manifest(task),
        split,
        prepared,
        ruler,
        limit=config["rows"][split],
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
    return task["stages"]["train_expert"]["flops"] / (seconds * flops.GPUS[published["gpu"]].flops)

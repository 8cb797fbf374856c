"""What a task will cost: operations, GPU-hours, batch sizes and memory of every stage.

Assumptions, each marked below: which slots an expert gets before there is a profile, that every
expert but the first learns beside one parent, that one set of experts answers a test sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.slots import Slot
from stages.core.base.artifacts import read_json
from stages.core.base.errors import InputError
from stages.core.base.sampling import subset_size
from stages.core.costs import fitting, flops, memory
from stages.core.costs.fitting import Batch
from stages.core.costs.flops import Learning, Sample
from stages.core.costs.gpus import Gpu
from stages.core.costs.memory import Memory
from stages.core.costs.workload import Workload
from stages.core.runs.runs import Runs

if TYPE_CHECKING:
    from stages.core.backbone.architecture import Architecture
    from stages.methods.base import Method

SETS_PER_SAMPLE = 1  # ASSUME: its task's expert, from the step on at which that is learnt


def sets_per_sample(method: Method, task: str, tasks: list[str], which: str) -> int:
    """Sets of experts that answer a sample of a task over all steps after which it is asked
    (``prediction.steps``)."""
    if method.routing == "threshold":
        return SETS_PER_SAMPLE
    steps = method.asked_after(task, tasks, which)
    active = (method.active(step, task, tasks) for step in steps)
    return len({tuple(names) for names in active if names})


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


@dataclass(frozen=True)
class Answer:
    """One answer of a model to a sample of mean size, given in a batch with others."""

    prompt: flops.Flops
    decoding: flops.Flops
    hours: float
    batch: Batch

    @property
    def flops(self) -> float:
        """Operations of both parts."""
        return flops.total(self.prompt) + flops.total(self.decoding)


def answer(
    arch: Architecture,
    machine: Machine,
    test: Workload,
    limit: int,
    learning: Learning,
    asked: int | str,
) -> Answer:
    """The answer of at most ``limit`` tokens to a sample, in batches of ``asked`` samples."""
    prompt, new = Sample(test.tiles, test.prompt, 1), min(test.answer, limit)

    def needs(size: int, _: bool) -> Memory:
        return memory.prediction(arch, prompt, learning, size, new)

    batch = fitting.best(needs, fitting.sizes_of(asked), (False,), machine.gpu.memory)
    ahead = flops.forward(arch, prompt, learning)
    decoding = flops.decoding(arch, test.prompt, new, learning)
    traffic = flops.decoding_bytes(arch, test.prompt, new, batch.size)
    hours = machine.hours(flops.total(ahead)) + machine.hours(flops.total(decoding), traffic)
    return Answer(ahead, decoding, hours, batch)


class Forecast:
    """Forecast of the tasks of one run (a method or a variant)."""

    def __init__(
        self, runs: Runs, run: str, arch: Architecture, machine: Machine, thumbnail: float = 1
    ) -> None:
        """For a backbone whose thumbnails have so many tiles.

        Raises:
            InputError: the method learns more than plain LoRA experts.
        """
        self.thumbnail = thumbnail
        self.runs, self.run, self.arch, self.machine = runs, run, arch, machine
        self.config, self.method = runs.config_of(run), runs.method(run)
        self.stored = replace(arch, quantization=self.config["backbone"]["quantization"])
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
        fused = self.config["expert"]["qkv"] == "fused"
        return Learning(ranks, ranks if parent else {}, fused=fused)

    def task(self, task: str, train: Workload, test: Workload) -> dict[str, Any]:
        """All of one task: sizes, steps, operations and GPU-hours per stage, memory."""
        settings = self.config["training"] | self.config["training"]["per_task"].get(task, {})
        steps = math.ceil(train.rows / settings["batch_size"]) * settings["epochs"]
        stages = self._stages(task, train, test, settings)
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
        }

    def _stages(
        self, task: str, train: Workload, test: Workload, settings: dict[str, Any]
    ) -> dict[str, dict[str, Any]]:
        subset = subset_size(train.rows, **self.config["subset"])
        sample = Sample(train.tiles, train.tokens, train.answer)
        found = {}
        if self.runs.needs(self.run, "allocation"):
            batch = self._profile_batch(sample)
            found["profile_gradients"] = self._step(sample, Learning(dense=True), subset, batch)
        if self.runs.needs(self.run, "router"):
            found["extract_features"] = self._features(train, subset, test)
        if task in self.method.trained_tasks(self.config["tasks"]):
            rows = train.rows * settings["epochs"]
            batch = self._training_batch(task, sample, settings)
            found["train_expert"] = self._step(sample, self.learning(task), rows, batch)
        found["predict_backbone"] = self._prediction(task, test, Learning())
        found["predict"] = self._prediction(task, test, Learning(frozen=self.ranks(task)))
        return found

    def _step(
        self, sample: Sample, learning: Learning, samples: float, batch: Batch
    ) -> dict[str, Any]:
        """Forward and backward of so many samples; with checkpointing forward twice."""
        ahead = flops.forward(self.arch, sample, learning)
        back = flops.backward(self.arch, sample, learning)
        times = 2 if batch.checkpointing else 1
        operations = samples * (times * flops.total(ahead) + flops.total(back))
        return {
            "samples": samples,
            "forward_per_sample": ahead,
            "backward_per_sample": back,
            "flops": operations,
            "gpu_hours": self.machine.hours(operations),
        } | self._of(batch)

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
        } | self._of(self._features_batch(max(train.question, test.question)))

    def _prediction(self, task: str, test: Workload, learning: Learning) -> dict[str, Any]:
        """One generation per sample and set of experts, or one without any."""
        tasks = self.config["tasks"]
        which = self.config["prediction"]["steps"]
        sets = sets_per_sample(self.method, task, tasks, which) if learning.frozen else 1
        samples, limit = test.rows * sets, self.runs.manifest(task).task["max_new_tokens"]
        asked = self.config["prediction"]["batch_size"]
        one = answer(self.stored, self.machine, test, limit, learning, asked)
        return {
            "samples": samples,
            "prompt_per_sample": one.prompt,
            "decoding_per_sample": one.decoding,
            "flops": samples * one.flops,
            "gpu_hours": samples * one.hours,
        } | self._of(one.batch)

    # --- memory ---

    @property
    def _there(self) -> float:
        return self.machine.gpu.memory

    def _of(self, batch: Batch) -> dict[str, Any]:
        """Memory of a stage, and how many samples it takes at a time."""
        total = batch.memory.total
        return {
            "at_a_time": batch.size,
            "checkpointing": batch.checkpointing,
            "memory": asdict(batch.memory) | {"total": total},
            "fits": total <= self._there,
        }

    def _profile_batch(self, sample: Sample) -> Batch:
        def needs(size: int, checkpointing: bool) -> Memory:
            return memory.profile(self.arch, sample, size, checkpointing=checkpointing)

        sizes = fitting.sizes_of(self.config["profile"]["batch_size"])
        return fitting.best(needs, sizes, (False, True), self._there)

    def _features_batch(self, tokens: float) -> Batch:
        def needs(size: int, _: bool) -> Memory:
            return memory.features(self.stored, self.thumbnail, tokens, size)

        sizes = fitting.sizes_of(self.config["features"]["batch_size"])
        return fitting.best(needs, sizes, (False,), self._there)

    def _training_batch(self, task: str, sample: Sample, settings: dict[str, Any]) -> Batch:
        divided = self.config["training"]["sharding"] == "fsdp"
        return fitting.step_of(
            replace(self.stored, shards=self.machine.gpus if divided else 1),
            sample,
            self.learning(task),
            settings,
            processes=self.machine.gpus,
            there=self._there,
            dropout=self.config["expert"]["dropout"],
        )


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


def is_plain(method: Method) -> bool:
    """Whether a method trains plain LoRA experts on its task's rows."""
    from stages.methods.base import Method
    from stages.methods.dmole import DMoLE

    kind = type(method)
    same = all(getattr(kind, name) is getattr(Method, name) for name in ("rows", "fit", "loss"))
    return same and kind.prepare in (Method.prepare, DMoLE.prepare)


def _check_plain(method: Method, run: str) -> None:
    if not is_plain(method):
        raise InputError(
            f"{run}: a plan counts plain LoRA experts, each learning from its task's rows; "
            f"{method.name} trains otherwise. Name dmole, seq_ft, individual or a variant of one "
            "with --method."
        )

"""Training jobs of any method on a stream of two tiny tasks, watched from outside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from stages import train_expert
from stages.core.backbone.load import Backbone, load_backbone
from stages.core.base import artifacts, reading
from stages.core.experts.job import Job
from stages.core.experts.lora import ExpertModel
from stages.core.training import phases as training
from stages.methods import registry as methods
from stages.methods.base import Method
from tests.conftest import make_row

TASKS = ["things", "places"]
SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
TRAINING = {
    "learning_rate": 1e-2,
    "weight_decay": 0.01,
    "warmup_ratio": 0.03,
    "max_grad_norm": 1.0,
    "epochs": 2,
    "batch_size": 4,
    "micro_batch_size": 2,
    "activation_checkpointing": "auto",
    "checkpoint_steps": 2,
    "prompt_variants": False,
    "per_task": {},
}
LIMITS = {"max_new_tokens": 6, "min_new_tokens": 0}


def config(options: dict[str, dict] | None = None, **training: Any) -> dict[str, Any]:
    """The slice of the config that a training job sees."""
    return {
        "expert": {"rank": 8, "alpha": 16, "qkv": "split", "dropout": 0.05},
        "training": TRAINING | training,
        "budget": {"ratio": 0.5},
        "transfer": {"learning_rate_factor": 1.0},
        "method_options": options or {},
        "backbone": SETTINGS,
    }


def rows_of(task: str, count: int = 10) -> list[dict[str, Any]]:
    """Rows whose images, questions and answers differ from those of the other task."""
    first = 100 * TASKS.index(task)
    ask, answer = {
        "things": ("What is it?", "a thing"),
        "places": ("Where is it?", "in the box"),
    }[task]
    return [
        make_row(first + i, f"{ask} " * (i % 3 + 1), f"{answer} of kind {'x' * (i % 4)}")
        for i in range(count)
    ]


def write_data(folder: Path) -> dict[str, Path]:
    """The training rows of both tasks as files."""
    files = {}
    for task in TASKS:
        files[task] = folder / f"{task}.parquet"
        artifacts.write_table(
            "data", files[task], rows_of(task), task={"name": task}, provenance={}
        )
    return files


def batch_of(backbone: Backbone, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A training batch."""
    batch = backbone.to_device(
        backbone.prompter.collate([backbone.prompter.training_example(r) for r in rows])
    )
    batch.pop("sample_id")
    return batch | more


def job_of(backbone: Backbone, task: str, settings: dict[str, Any] | None = None) -> Job:
    """A job of the stream; allocated are the first blocks, the parent is the first task."""
    allocated = [
        {"tower": slot.tower, "block": slot.block, "slot": slot.kind, "allocated": True}
        for slot in backbone.slots
        if slot.block == 0
    ]
    parent = TASKS[0] if task == TASKS[1] else None
    so_far = TASKS[: TASKS.index(task) + 1]
    settings = settings or config()
    return Job(task, so_far, settings, backbone.slots, {"slots": allocated}, {"parent": parent})


@dataclass
class Phase:
    """What one phase of training changed."""

    trainable: set[str]
    moved: set[str]
    batches: int  # forward and backward passes


@dataclass
class Trained:
    """A finished job: its method and model still in memory, and what was seen on the way."""

    method: Method
    backbone: Backbone
    learner: ExpertModel
    summary: dict[str, Any]
    folder: Path
    phases: list[Phase] = field(default_factory=list)

    def weights(self) -> dict[str, torch.Tensor]:
        """Every tensor of the saved state, by file and key."""
        return {
            f"{path.relative_to(self.folder)}:{key}": value
            for path in sorted(self.folder.rglob("*.safetensors"))
            for key, value in reading.read_weights(path)[0].items()
        }


def train(
    name: str,
    task: str,
    tiny_folder: Path,
    data: dict[str, Path],
    out: Path,
    settings: dict[str, Any] | None = None,
) -> Trained:
    """Train ``task``; the states it starts from are the sibling folders of ``out / task``."""
    method, backbone = methods.load(name), load_backbone(tiny_folder, SETTINGS)
    job, learners, phases = job_of(backbone, task, settings), [], []
    prepare, run = method.prepare, training.Phases.__call__

    def kept(*args: Any) -> ExpertModel:
        learners.append(prepare(*args))
        return learners[-1]

    def watched(self: Any, model: Any, loss: Any, rows: Any, **changes: Any) -> Any:
        before = snapshot(model)
        trainable = {key for key, p in model.named_parameters() if p.requires_grad}
        batches = []

        def counted(batch: dict[str, Any]) -> Any:
            batches.append(len(batch["labels"]))
            return loss(batch)

        history = run(self, model, counted, rows, **changes)
        after = snapshot(model)
        moved = {key for key in after if not torch.equal(after[key], before[key])}
        phases.append(Phase(trainable, moved, len(batches)))
        return history

    method.prepare = kept
    with mock.patch.object(training.Phases, "__call__", watched):
        summary = train_expert.train_expert(
            method,
            backbone,
            {key: data[key] for key in method.reads_data(task, TASKS)},
            {key: out / key for key in method.starts_from(task, TASKS, job.transfer)},
            replace(job, seed=3),
            checkpoints=out / f"{task}_checkpoints",
            fingerprint={"run": name, "config": job.config},
            out=out / task,
        )
    return Trained(method, backbone, learners[0], summary, out / task, phases)


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    found = [*model.named_parameters(), *model.named_buffers()]
    return {key: value.detach().clone() for key, value in found}


def active_at_the_end(method: Method) -> list[str]:
    """The states that answer the last task at the end of the stream, as in its training."""
    return TASKS if method.routing == "threshold" else method.active(2, TASKS[1], TASKS)

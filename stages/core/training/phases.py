"""Training in one or more phases, each of which resumes from its last checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from transformers import TrainingArguments

from stages.core.backbone.checkpointing import checkpointed
from stages.core.backbone.prompts import IGNORE, Prompter
from stages.core.base import distributed, stopping
from stages.core.base.ahead import leave_signals
from stages.core.base.errors import InputError
from stages.core.base.halving import halving
from stages.core.training.batches import MOST, Largest, Step, fitting, micro_batch_size
from stages.core.training.checkpoints import claim, last_checkpoint
from stages.core.training.examples import asked_anew, examples, with_silent
from stages.core.training.tracking import Tracking
from stages.core.training.trainer import ExpertTrainer, Objective, StopWhenTold, TellProgress

if TYPE_CHECKING:
    from datasets import Dataset

T = TypeVar("T")
MEMORY = "memory.json"  # in the folder of checkpoints


def draw_own_masks(seed: int) -> None:
    """Give each of several processes dropout masks of its own.

    The Trainer seeds all of them alike, so that the samples of a step would share masks. One
    process draws as it always did; a resumed run restores each process's random state.
    """
    if distributed.size() > 1:
        torch.manual_seed((seed << 16) + distributed.rank())


def largest(encoded: Dataset, prompter: Prompter) -> Largest:
    """The longest of encoded rows."""
    lengths = encoded["length"][:]
    row = encoded[lengths.index(max(lengths))]
    answer = len(row["labels"]) - row["labels"].count(IGNORE)
    image = prompter.images.config.image_token_id
    return Largest(len(row["input_ids"]), row["input_ids"].count(image), answer)


def usual_step(model: nn.Module, settings: dict[str, Any], rows: Largest) -> Step:
    """Forward passes where no memory decides."""
    micro = micro_batch_size(settings, distributed.size())
    return Step(micro, settings["activation_checkpointing"] is True)


class Phases:
    """Trains what has ``requires_grad``, once per call; a later phase has its own checkpoints.

    A run that was killed goes on where it stopped: finished phases load their end state. One that
    is out of GPU memory goes on from its last checkpoint with half as many samples at a time.
    """

    def __init__(
        self,
        prompter: Prompter,
        settings: dict[str, Any],
        task: str,
        seed: int,
        checkpoints: Path,
        fingerprint: dict[str, Any],
        workers: int = 0,
        tracking: Tracking | None = None,
        fit: Callable[[nn.Module, dict[str, Any], Largest], Step] = usual_step,
    ) -> None:
        """Clear ``checkpoints`` unless they belong to the run that ``fingerprint`` identifies.

        Args:
            workers: processes that load rows beside this one.
            tracking: where each phase is reported.
            fit: model, settings and the most that a row has -> how forward passes are made.
        """
        self.fit = fit
        self.prompter, self.settings = prompter, settings
        self.task, self.seed, self.checkpoints = task, seed, checkpoints
        self.workers, self.done = workers, 0
        self.tracking = tracking or Tracking("none", checkpoints, task)
        with distributed.first_before_others():
            claim(checkpoints, fingerprint)

    def __call__(
        self,
        model: nn.Module,
        loss: Callable[[dict[str, Any]], torch.Tensor],
        rows: Dataset,
        **changes: Any,
    ) -> list[list[float]]:
        """One phase; returns its history, ``[step, loss, gradient norm]`` of every logged step: the
        mean loss up to it, and the norm at it before clipping (NaN if nothing is clipped).

        Args:
            loss: batch (a dict of tensors) -> scalar.
            changes: keys of the config's ``training`` section that differ in this phase.

        Raises:
            InputError: a loss that is not finite.
            Stopped: the job was told to stop; a checkpoint is there.
        """
        from datasets import concatenate_datasets

        folder = self.checkpoints / f"phase{self.done}"
        self.done += 1
        reporting = self.tracking.begin(folder)
        settings = self.settings | changes
        silent = -len(rows) % settings["batch_size"] if distributed.size() > 1 else 0
        with distributed.first_before_others():  # the others find the first one's cache
            every = [
                examples(rows, self.prompter, self.workers * distributed.size(), ask)
                for ask in asked_anew(settings, self.seed)
            ]
            every = [with_silent(part, silent) if silent else part for part in every]
        encoded = concatenate_datasets(every)
        step = self.fit(model, settings, largest(encoded, self.prompter))
        start = {p: p.detach().clone() for p in model.parameters() if p.requires_grad}

        def run(size: int) -> list[list[float]]:
            micro = fitting(size, settings, distributed.size())
            with torch.no_grad():  # what a failed run has changed
                for parameter, value in start.items():
                    parameter.copy_(value)
                    parameter.grad = None
            args = _arguments(settings, micro, self.seed, folder, self.workers, reporting)
            trainer = ExpertTrainer(
                model=Objective(model, loss),
                args=args,
                train_dataset=encoded,
                data_collator=self._collate,
                task=self.task,
                silent=silent,
                parts=len(every),
                images=self.prompter.images,
            )
            with checkpointed(model, step.checkpointing):
                return self._trained(trainer, folder)

        most = min(step.micro_batch_size, self._most())
        return halving(lambda size: self._noting(run, size), most, f"task {self.task}")[0]

    def _most(self) -> int:
        """Samples at a time up to which memory has sufficed in this run."""
        note = self.checkpoints / MEMORY
        return json.loads(note.read_text())["micro_batch_size"] if note.is_file() else MOST

    def _noting(self, run: Callable[[int], T], size: int) -> T:
        """``run(size)``; where memory does not suffice, a job that starts again knows.

        Raises:
            InputError: the other processes wait for this one.
        """
        try:
            return run(size)
        except torch.OutOfMemoryError:
            half = max(size // 2, 1)
            (self.checkpoints / MEMORY).write_text(json.dumps({"micro_batch_size": half}))
            if distributed.size() == 1 or size == 1:
                raise
        raise InputError(
            f"task {self.task}: out of GPU memory with {size} samples at a time. Start the job "
            f"again, and it goes on from its last checkpoint with {half} at a time."
        )

    def _trained(self, trainer: ExpertTrainer, folder: Path) -> list[list[float]]:
        """The loss history of a trainer that goes on from the last checkpoint in ``folder``."""
        draw_own_masks(self.seed)
        resume = last_checkpoint(folder)
        if resume:
            print(f"going on from {resume}", flush=True)
        with stopping.deferred() as told:
            stop = StopWhenTold(told)
            trainer.add_callback(stop)
            trainer.add_callback(TellProgress(self.checkpoints, self.done))
            trainer.train(resume_from_checkpoint=resume)
        self.tracking.end()
        if stop.stopped:
            raise stopping.Stopped(
                f"task {self.task}: the checkpoint of step {trainer.state.global_step} is saved in "
                f"{folder}. Start the job again, and it goes on from there."
            )
        logs = (entry for entry in trainer.state.log_history if "loss" in entry)
        return [[log["step"], log["loss"], log.get("grad_norm", math.nan)] for log in logs]

    def _collate(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        leave_signals()
        for row in batch:
            row["pixel_values"] = self.prompter.pixel_values(row)
        return self.prompter.collate(batch)


def _arguments(
    settings: dict[str, Any],
    micro: int,
    seed: int,
    checkpoints: Path,
    workers: int,
    reporting: dict[str, Any],
) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    world = distributed.size()
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings["batch_size"] // (micro * world),
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        warmup_steps=settings["warmup_ratio"],
        lr_scheduler_type="cosine",
        optim="adamw_torch",
        seed=seed,
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=settings["checkpoint_steps"],
        logging_steps=max(1, settings["checkpoint_steps"] // 10),
        **reporting,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        ddp_backend=None if cuda or distributed.size() == 1 else "gloo",
        dataloader_num_workers=workers,
        dataloader_prefetch_factor=2 if workers else None,
        dataloader_pin_memory=cuda,
        # rows without an image do not reach the experts of the vision encoder
        ddp_find_unused_parameters=True,
    )

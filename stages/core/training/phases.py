"""Training in one or more phases, each of which resumes from its last checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import TrainingArguments

from stages.core.backbone.prompts import IGNORE, Prompter
from stages.core.base import distributed, stopping
from stages.core.data.markers import PLACE
from stages.core.dmole.rewording import rewordings
from stages.core.training.batches import micro_batch_size
from stages.core.training.checkpoints import claim, last_checkpoint
from stages.core.training.loader import leave_signals
from stages.core.training.sampler import step_rows
from stages.core.training.trainer import ExpertTrainer, Objective, StopWhenTold

if TYPE_CHECKING:
    from datasets import Dataset


KIND = "task_kind"  # column of rows that may be asked in other words
Row = dict[str, Any]


def examples(
    rows: Dataset, prompter: Prompter, ask: Callable[[Row], Row] = lambda row: row
) -> Dataset:
    """Rows with ids, labels and lengths, of what ``ask`` makes of each; images are opened when a
    batch needs them."""

    def encode(row: Row) -> Row:
        ids, labels = prompter.training_ids(ask(row))
        return {"input_ids": ids, "labels": labels, "length": len(ids)}

    unused = {"turns", "references", "choices", "box", KIND} & set(rows.column_names)
    return rows.map(encode, remove_columns=sorted(unused), desc="tokens")


def in_other_words(row: Row, seed: int, epoch: int) -> Row:
    """A row as it is asked in an epoch: by even chance as it stands, or with its first question in
    other words. Decided by seed, epoch and sample alone.

    Its column :data:`KIND` says of which kind of task it is. Where images stand among the words,
    the row keeps them.
    """
    import numpy as np

    first, *later = row["turns"]
    random = np.random.default_rng([seed, epoch, *row["sample_id"].encode()])
    if PLACE in first["question"] or random.random() < 0.5:
        return row
    [question] = rewordings(first["question"], row[KIND], 1, random, mistyped=False)
    return row | {"turns": [first | {"question": question}, *later]}


def with_silent(rows: Dataset, count: int) -> Dataset:
    """Append copies of the shortest row without labels, which add nothing to any loss.

    They fill the last step of an epoch when several processes share it: each needs as many rows.
    """
    from datasets import concatenate_datasets

    lengths = rows["length"][:]
    copies = rows.select([lengths.index(min(lengths))] * count)
    silent = copies.map(lambda row: {"labels": [IGNORE] * len(row["labels"])}, desc="silent rows")
    return concatenate_datasets([rows, silent])


def draw_own_masks(seed: int) -> None:
    """Give each of several processes dropout masks of its own.

    The Trainer seeds all of them alike, so that the samples of a step would share masks. One
    process draws as it always did; a resumed run restores each process's random state.
    """
    if distributed.size() > 1:
        torch.manual_seed((seed << 16) + distributed.rank())


class Phases:
    """Trains what has ``requires_grad``, once per call; a later phase has its own checkpoints.

    A run that was killed goes on where it stopped: finished phases load their end state.
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
    ) -> None:
        """Clear ``checkpoints`` unless they belong to the run that ``fingerprint`` identifies.

        Args:
            workers: processes that load rows beside this one.
        """
        self.prompter, self.settings = prompter, settings
        self.task, self.seed, self.checkpoints = task, seed, checkpoints
        self.workers, self.done = workers, 0
        with distributed.first_before_others():
            claim(checkpoints, fingerprint)

    def __call__(
        self,
        model: nn.Module,
        loss: Callable[[dict[str, Any]], torch.Tensor],
        rows: Dataset,
        **changes: Any,
    ) -> list[list[float]]:
        """One phase; returns the loss history ``[[step, loss], ...]``.

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
        settings = self.settings | changes
        args = _arguments(settings, self.seed, folder, self.workers)
        silent = -len(rows) % step_rows(args) if distributed.size() > 1 else 0
        with distributed.first_before_others():  # the others find the first one's cache
            if settings["prompt_variants"]:
                epochs = range(ceil(args.num_train_epochs))
                asks = [partial(in_other_words, seed=self.seed, epoch=epoch) for epoch in epochs]
                encoded = [examples(rows, self.prompter, ask) for ask in asks]
            else:
                encoded = [examples(rows, self.prompter)]
            encoded = [with_silent(part, silent) if silent else part for part in encoded]
        trainer = ExpertTrainer(
            model=Objective(model, loss),
            args=args,
            train_dataset=concatenate_datasets(encoded),
            data_collator=self._collate,
            task=self.task,
            silent=silent,
            parts=len(encoded),
            images=self.prompter.images,
        )
        draw_own_masks(self.seed)
        resume = last_checkpoint(folder)
        if resume:
            print(f"going on from {resume}", flush=True)
        with stopping.deferred() as told:
            stop = StopWhenTold(told)
            trainer.add_callback(stop)
            trainer.train(resume_from_checkpoint=resume)
        if stop.stopped:
            raise stopping.Stopped(
                f"task {self.task}: the checkpoint of step {trainer.state.global_step} is saved in "
                f"{folder}. Start the job again, and it goes on from there."
            )
        logs = trainer.state.log_history
        return [[entry["step"], entry["loss"]] for entry in logs if "loss" in entry]

    def _collate(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        leave_signals()
        for row in batch:
            row["pixel_values"] = self.prompter.pixel_values(row)
        return self.prompter.collate(batch)


def _arguments(
    settings: dict[str, Any], seed: int, checkpoints: Path, workers: int
) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    world = distributed.size()
    micro = micro_batch_size(settings, world)
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
        report_to="none",
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        ddp_backend=None if cuda or distributed.size() == 1 else "gloo",
        dataloader_num_workers=workers,
        dataloader_prefetch_factor=2 if workers else None,
        dataloader_pin_memory=cuda,
        # rows without an image do not reach the experts of the vision encoder
        ddp_find_unused_parameters=True,
    )

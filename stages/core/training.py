"""One training run of trainable parameters on rows: ``transformers.Trainer`` with our objective.

Checkpoints live outside the declared outputs; a run that was killed goes on from the last one
that is complete. With several processes (``stages.core.distributed``) each optimiser step sees the
rows that it would see with one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import sort_checkpoints

from stages.core import distributed
from stages.core.errors import InputError
from stages.core.prompts import IGNORE, Prompter

if TYPE_CHECKING:
    from datasets import Dataset

FINGERPRINT = "fingerprint.json"
COMPLETE = "complete"  # an empty file, the last that a checkpoint gets


class Objective(nn.Module):
    """The module the Trainer sees: batch in, loss out; its state is what learns, nothing else."""

    def __init__(self, model: nn.Module, loss: Callable[[dict[str, Any]], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, **batch: Any) -> torch.Tensor:
        """The loss of a batch."""
        return self.loss(batch)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """Trainable parameters only: checkpoints stay small."""
        return {n: p.detach() for n, p in self.named_parameters() if p.requires_grad}

    def load_state_dict(self, state: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """Restore trainable parameters; every one of them must be there.

        Raises:
            InputError: the checkpoint belongs to another set of trainable parameters.
        """
        mine = self.state_dict()
        if mine.keys() != state.keys():
            raise InputError("checkpoint does not fit: delete the checkpoints folder and rerun.")
        for name, parameter in mine.items():
            parameter.copy_(state[name])
        return nn.modules.module._IncompatibleKeys([], [])


class ByLength(LengthGroupedSampler):
    """Rows of like length side by side, in an order that seed and epoch alone decide.

    The library's order comes from the process's random state: a run that resumes after its first
    epoch would see other rows than the one that was killed. Silent rows (see ``with_silent``) come
    last.
    """

    def __init__(
        self,
        lengths: list[int],
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        silent: int = 0,
    ) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch, self.silent = seed, epoch, silent

    def __len__(self) -> int:
        return len(self.lengths) + self.silent

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed((self.seed << 16) + self.epoch())
        yield from super().__iter__()
        yield from range(len(self.lengths), len(self))


class ExpertTrainer(Trainer):
    """Trainer with token-mean loss over the whole optimiser step and a check for NaN."""

    def __init__(self, *args: Any, task: str, silent: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task, self.silent = task, silent
        self.model_accepts_loss_kwargs = True  # count the answer tokens of an optimiser step

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        lengths = self.train_dataset["length"][: len(self.train_dataset) - self.silent]
        batch_size = step_rows(self.args)
        steps = -(-len(lengths) // batch_size)  # of one epoch
        return ByLength(
            list(lengths),
            batch_size,
            self.args.seed,
            lambda: self.state.global_step // steps,
            self.silent,
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """A checkpoint counts once all processes have written their part; then older ones go."""
        super()._save_checkpoint(model, trial)
        distributed.wait()
        if distributed.is_first():
            *older, newest = sort_checkpoints(self.args.output_dir, use_mtime=False)
            (Path(newest) / COMPLETE).touch()
            for folder in older:
                shutil.rmtree(folder)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The method's loss; a loss that is not finite stops the run.

        Raises:
            InputError: names task, step and sample ids.
        """
        ids = inputs.pop("sample_id")
        if num_items_in_batch is not None:
            inputs["n_answer_tokens"] = num_items_in_batch / self.args.world_size
        loss = model(**inputs)
        if not torch.isfinite(loss):
            raise InputError(
                f"task {self.task}: loss is {loss.item()} at step {self.state.global_step + 1}; "
                f"samples {', '.join(ids)}. Lower training.learning_rate or check these rows."
            )
        return loss


def step_rows(args: TrainingArguments) -> int:
    """Rows of one optimiser step, over all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was saved to its end; a kill can come in the middle."""
    found = sort_checkpoints(str(folder), use_mtime=False) if folder.is_dir() else []
    return next((path for path in reversed(found) if (Path(path) / COMPLETE).is_file()), None)


def examples(rows: Dataset, prompter: Prompter) -> Dataset:
    """Rows with ids, labels and lengths; images are opened when a batch needs them."""

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        ids, labels = prompter.conversation(row["turns"], prompter.tile_counts(row))
        return {"input_ids": ids, "labels": labels, "length": len(ids)}

    return rows.map(encode, remove_columns=["turns", "references", "choices", "box"], desc="tokens")


def with_silent(rows: Dataset, count: int) -> Dataset:
    """Append copies of the shortest row without labels, which add nothing to any loss.

    They fill the last step of an epoch when several processes share it: each needs as many rows.
    """
    from datasets import concatenate_datasets

    lengths = rows["length"][:]
    copies = rows.select([lengths.index(min(lengths))] * count)
    silent = copies.map(lambda row: {"labels": [IGNORE] * len(row["labels"])}, desc="silent rows")
    return concatenate_datasets([rows, silent])


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
    ) -> None:
        """Clear ``checkpoints`` unless they belong to the run that ``fingerprint`` identifies."""
        self.prompter, self.settings = prompter, settings
        self.task, self.seed, self.checkpoints = task, seed, checkpoints
        self.done = 0
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
        """
        folder = self.checkpoints / f"phase{self.done}"
        self.done += 1
        args = _arguments(self.settings | changes, self.seed, folder)
        silent = -len(rows) % step_rows(args) if distributed.size() > 1 else 0
        with distributed.first_before_others():  # the others find the first one's cache
            encoded = examples(rows, self.prompter)
            encoded = with_silent(encoded, silent) if silent else encoded
        trainer = ExpertTrainer(
            model=Objective(model, loss),
            args=args,
            train_dataset=encoded,
            data_collator=self._collate,
            task=self.task,
            silent=silent,
        )
        resume = last_checkpoint(folder)
        if resume:
            print(f"going on from {resume}", flush=True)
        trainer.train(resume_from_checkpoint=resume)
        logs = trainer.state.log_history
        return [[entry["step"], entry["loss"]] for entry in logs if "loss" in entry]

    def _collate(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        for row in batch:
            row["pixel_values"] = self.prompter.pixel_values(row)
        return self.prompter.collate(batch)


def _arguments(settings: dict[str, Any], seed: int, checkpoints: Path) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    world = distributed.size()
    micro = min(settings["micro_batch_size"], settings["batch_size"] // world)
    if settings["batch_size"] % (micro * world):
        raise InputError(
            f"training.batch_size {settings['batch_size']}: must be a multiple of "
            f"micro_batch_size {micro} x {world} processes."
        )
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
        dataloader_pin_memory=cuda,
        # rows without an image do not reach the experts of the vision encoder
        ddp_find_unused_parameters=True,
    )


def claim(checkpoints: Path, fingerprint: dict[str, Any]) -> None:
    """Keep the folder if it belongs to this very run, else empty it and sign it."""
    note = checkpoints / FINGERPRINT
    text = json.dumps(fingerprint, sort_keys=True)
    if note.is_file() and note.read_text() == text:
        return
    if checkpoints.exists():
        shutil.rmtree(checkpoints)
    checkpoints.mkdir(parents=True)
    note.write_text(text)

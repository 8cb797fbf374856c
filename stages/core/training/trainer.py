"""One training run of trainable parameters on rows: ``transformers.Trainer`` with our objective.

Checkpoints live outside the declared outputs; a run that was killed goes on from the last one
that is complete. With several processes (``core.base.distributed``) each optimiser step sees the
rows that it would see with one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from stages.core.base import distributed
from stages.core.base.errors import InputError
from stages.core.base.writing import saving
from stages.core.training.checkpoints import COMPLETE
from stages.core.training.progress import write_progress
from stages.core.training.sampler import ByLength, step_rows

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.families.base import Family


class Objective(nn.Module):
    """What the Trainer sees: batch in, loss out; its state is the trainable parameters."""

    def __init__(self, model: nn.Module, loss: Callable[[dict[str, Any]], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        # DistributedDataParallel's: what is frozen is every process's own, whole or in part
        self._ddp_params_and_buffers_to_ignore = [
            name for name, parameter in self.named_parameters() if not parameter.requires_grad
        ]

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


class StopWhenTold(TrainerCallback):
    """Saves and ends the training after the step in which any process was told to stop."""

    def __init__(self, told: Sequence[int]) -> None:
        self.told = told  # where the signals of this process arrive
        self.stopped = False

    def on_step_end(
        self, args: Any, state: Any, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """All processes look at the end of every step, so that they stop at the same one."""
        self.stopped = any(distributed.gather(bool(self.told)))
        if self.stopped:
            control.should_save = control.should_training_stop = True
        return control


class TellProgress(TrainerCallback):
    """Says in a file how far the training is, whenever a loss is logged."""

    def __init__(self, checkpoints: Path, phase: int) -> None:
        self.checkpoints, self.phase = checkpoints, phase
        self.began, self.first = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note when and at which step this process began; what was resumed took no time."""
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        """Write step, loss, speed and memory; the first of several processes does."""
        if "loss" not in logs or not distributed.is_first():
            return
        cuda = torch.cuda.is_available()
        speed = (state.global_step - self.first) / (time.monotonic() - self.began)
        content = {
            "phase": self.phase,
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": logs["loss"],
            "samples_per_second": speed * step_rows(args),
            "seconds_left": (state.max_steps - state.global_step) / speed,
            "gpu_memory": torch.cuda.max_memory_reserved() if cuda else None,  # bytes
            "written": time.time(),
        }
        write_progress(self.checkpoints, content)


class ExpertTrainer(Trainer):
    """Trainer with token-mean loss over the whole optimiser step and a check for NaN."""

    def __init__(
        self, *args: Any, task: str, silent: int, parts: int, images: Family, **kwargs: Any
    ) -> None:
        """``parts``: epochs whose rows the data set holds, each with ``silent`` rows at its end."""
        super().__init__(*args, **kwargs)
        self.task, self.silent, self.parts, self.images = task, silent, parts, images
        self.model_accepts_loss_kwargs = True  # count the answer tokens of an optimiser step

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        every, size = list(self.train_dataset["length"]), len(self.train_dataset) // self.parts
        lengths = [every[i : i + size - self.silent] for i in range(0, len(every), size)]
        batch_size = step_rows(self.args)
        steps = -(-len(lengths[0]) // batch_size)  # of one epoch
        return ByLength(
            lengths,
            batch_size,
            self.args.seed,
            lambda: self.state.global_step // steps,
            self.silent,
        )

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch on the model's device, its pixels normalised there."""
        prepared = super()._prepare_inputs(inputs)
        if "pixel_values" in prepared:
            prepared["pixel_values"] = self.images.normalised(prepared["pixel_values"])
        return prepared

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Mark a checkpoint complete once all processes have written; delete older ones.

        Raises:
            OSError: the disk is full; names the checkpoint, of which nothing is left.
        """
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        try:
            with saving(folder):
                super()._save_checkpoint(model, trial)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        distributed.wait()
        if distributed.is_first():
            *older, newest = sort_checkpoints(self.args.output_dir, use_mtime=False)
            (Path(newest) / COMPLETE).touch()
            for folder in older:
                shutil.rmtree(folder)

    def _save_rng_state(self, output_dir: str) -> None:
        """Also the losses since the last logged step; the library forgets them."""
        super()._save_rng_state(output_dir)
        unlogged = {"loss": self._tr_loss.item(), "since": self._globalstep_last_logged}
        _unlogged(output_dir).write_text(json.dumps(unlogged))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint and (file := _unlogged(checkpoint)).is_file():
            unlogged = json.loads(file.read_text())
            self._tr_loss += unlogged["loss"]
            self._globalstep_last_logged = unlogged["since"]

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


def _unlogged(checkpoint: str) -> Path:
    """A process's own file in a checkpoint."""
    return Path(checkpoint) / f"unlogged_{distributed.rank()}.json"

"""The order of rows in training: similar lengths together, decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from transformers import TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler


class ByLength(LengthGroupedSampler):
    """Sample rows of similar length together, in an order that seed and epoch alone decide.

    The library's order comes from the process's random state: a run that resumes after its first
    epoch would see other rows than the one that was killed. The data set holds the rows of one
    epoch, or those of every epoch one after the other; silent rows (see ``with_silent``) come last
    in each.
    """

    def __init__(
        self,
        lengths: list[list[int]],
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        silent: int = 0,
    ) -> None:
        """With the lengths of each epoch's rows, or of those that all epochs see."""
        super().__init__(batch_size, lengths=lengths[0])
        self.of_epochs = lengths
        self.seed, self.epoch, self.silent = seed, epoch, silent

    def __len__(self) -> int:
        return len(self.lengths) + self.silent

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch()
        self.generator = torch.Generator().manual_seed((self.seed << 16) + epoch)
        part = min(epoch, len(self.of_epochs) - 1)
        self.lengths = self.of_epochs[part]
        for index in [*super().__iter__(), *range(len(self.lengths), len(self))]:
            yield part * len(self) + index


def step_rows(args: TrainingArguments) -> int:
    """Rows of one optimiser step, over all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size

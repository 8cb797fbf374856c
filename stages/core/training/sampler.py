"""The order of rows in training: similar lengths together, decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from transformers import TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler


class ByLength(LengthGroupedSampler):
    """Sample rows of similar length together, in an order that seed and epoch alone decide.

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


def step_rows(args: TrainingArguments) -> int:
    """Rows of one optimiser step, over all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size

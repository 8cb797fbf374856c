"""Router of one task without training: how far a row is from the mean of the task's rows.

The control of the learnt routers: what the nearest mean already separates, no autoencoder needed to
learn. A row's loss is the mean squared difference to the prototype, as if an autoencoder returned
the prototype for every row, so thresholds and routes follow as for the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from stages.core.base.errors import InputError


@dataclass(frozen=True)
class Prototype:
    """``mean`` (d,), float32, of the task's feature rows."""

    kind: ClassVar[str] = "prototype"
    task: str
    mean: np.ndarray

    @property
    def dim(self) -> int:
        """Length of a feature row."""
        return len(self.mean)

    def packed(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What :func:`rebuild` makes it of again."""
        import torch

        return {"mean": torch.from_numpy(self.mean)}, {}


def fit(z: np.ndarray, task: str) -> Prototype:
    """The prototype of feature rows ``z`` (n, d).

    Raises:
        InputError: one row, which says nothing of how far others may be.
    """
    if len(z) < 2:
        raise InputError(f"task {task!r}: {len(z)} row has no spread; raise subset.min_samples.")
    return Prototype(task, z.mean(axis=0, dtype=np.float64).astype(np.float32))


def own_losses(router: Prototype, z: np.ndarray) -> np.ndarray:
    """Losses of the rows ``z`` (n, d) that the prototype is the mean of, each left out in turn:
    without a row the mean is n / (n - 1) times as far from it."""
    return losses(router, z) * (len(z) / (len(z) - 1)) ** 2


def losses(router: Prototype, z: np.ndarray) -> np.ndarray:
    """Loss of each row of ``z`` (n, d), (n,); rows do not depend on each other."""
    return np.square(z.astype(np.float64) - router.mean).mean(axis=1)


def rebuild(tensors: Mapping[str, Any], notes: Mapping[str, str]) -> Prototype:
    """The router of this mean; ``notes`` say its task.

    Raises:
        KeyError, ValueError: it is none.
    """
    mean = tensors["mean"].numpy()
    if mean.ndim != 1:
        raise ValueError("the mean is no vector")
    return Prototype(notes["task"], mean)

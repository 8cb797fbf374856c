"""Router of one task without training: how near a row is to the task's own rows.

For features of ``style: meaning``, whose halves have length 1. The image distance is the mean
cosine distance to the nearest :data:`NEAREST` images of the task, in units of what its own images
have among themselves (a quantile of theirs, each left out in turn). The text distance is the one to
the nearest wording, less what the task's requests have among themselves, in units of
:data:`TEXT_UNIT`. A row's loss is the sum of both: the same images with another request are as
foreign as the same request over other images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from stages.core.base.errors import InputError

EPSILON = float(np.finfo(np.float32).eps)  # unit of images that are all the same
NEAREST = 3  # images that a distance is averaged over
TEXT_UNIT = 0.3  # cosine distance that counts as much as one unit of image distance


@dataclass(frozen=True)
class Neighbours:
    """``images`` (n, d_v) and ``texts`` (m, d_t), float32 rows of length 1 (images of rows without
    one are zeros); ``unit``, the image distance that counts as 1; ``spread``, the text distance
    between the task's own requests, 0 where all are the same."""

    kind: ClassVar[str] = "neighbours"
    task: str
    images: np.ndarray
    texts: np.ndarray
    unit: float
    spread: float

    @property
    def dim(self) -> int:
        """Length of a feature row."""
        return self.images.shape[1] + self.texts.shape[1]

    def packed(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What :func:`rebuild` makes it of again."""
        import torch

        rows = {"images": torch.from_numpy(self.images), "texts": torch.from_numpy(self.texts)}
        return rows, {"unit": repr(self.unit), "spread": repr(self.spread)}


def fit(z: np.ndarray, wordings: np.ndarray, vision_dim: int, task: str, q: float) -> Neighbours:
    """The router of a task.

    Args:
        z: float32 (n, d_v + d_t), its rows as they are asked.
        wordings: float32 (n, k, d_v + d_t), each row in k other wordings.
        vision_dim: d_v.
        q: quantile of the image distances within the task that is their unit.

    Raises:
        InputError: one row, which has no neighbour.
    """
    if len(z) < 2:
        raise InputError(
            f"task {task!r}: {len(z)} row has no neighbours; raise subset.min_samples."
        )
    images = np.ascontiguousarray(z[:, :vision_dim])
    texts = np.concatenate([z[:, None], wordings], axis=1)[:, :, vision_dim:]  # (n, 1 + k, d_t)
    unit = max(float(np.quantile(_left_out(images), q)), EPSILON)
    distinct = np.unique(texts.reshape(-1, texts.shape[2]), axis=0)
    return Neighbours(task, images, distinct, unit, _spread(texts.astype(np.float64)))


def _spread(texts: np.ndarray) -> float:
    """Median distance of a row's request to the nearest wording of another row, of ``(n, 1 + k,
    d_t)``, the first wording as asked."""
    nearest = []
    for i, own in enumerate(texts):
        others = np.delete(texts, i, axis=0).reshape(-1, texts.shape[2])
        nearest.append((1 - others @ own[0]).min())
    return max(0.0, float(np.median(nearest)))


def _left_out(images: np.ndarray) -> np.ndarray:
    """Image distance of each row to the others, (n,)."""
    distances = 1 - images.astype(np.float64) @ images.T.astype(np.float64)
    np.fill_diagonal(distances, np.inf)
    nearest = min(NEAREST, len(images) - 1)
    return np.sort(distances, axis=1)[:, :nearest].mean(axis=1)


def own_losses(router: Neighbours) -> np.ndarray:
    """Losses of the rows that the router was made of, each left out in turn, (n,). Their wording is
    among its own, so that only images count."""
    return _left_out(router.images) / router.unit


def losses(router: Neighbours, z: np.ndarray) -> np.ndarray:
    """Loss of each row of ``z`` (n, d_v + d_t), (n,); rows do not depend on each other."""
    images, texts = router.images.astype(np.float64), router.texts.astype(np.float64)
    width = images.shape[1]
    found = np.empty(len(z))
    for i, row in enumerate(z.astype(np.float64)):
        nearest = np.sort(1 - images @ row[:width])[:NEAREST].mean()
        asked = max(0.0, (1 - texts @ row[width:]).min() - router.spread)
        found[i] = max(0.0, nearest) / router.unit + asked / TEXT_UNIT
    return found


# --- File ----------------------------------------------------------------------------------------


def rebuild(tensors: Mapping[str, Any], notes: Mapping[str, str]) -> Neighbours:
    """The router of these rows; ``notes`` say its task and unit.

    Raises:
        KeyError, ValueError: they are not those of neighbours.
    """
    images, texts = tensors["images"].numpy(), tensors["texts"].numpy()
    unit, spread = float(notes["unit"]), float(notes["spread"])
    sound = images.ndim == texts.ndim == 2 and len(images) and len(texts)
    if not (sound and unit > 0 and spread >= 0):
        raise ValueError("rows, unit or spread out of range")
    return Neighbours(notes["task"], images, texts, unit, spread)

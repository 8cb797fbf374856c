"""Router of one task: an autoencoder of its features and a threshold on its loss (Eqs. 8-9).

The loss of a feature row says how foreign it is to the task. An autoencoder reconstructs the rows
it was fitted to far better than other rows of the same task, so the threshold is calibrated on
rows left out of the fit (``threshold.calibration: cross_fit``).
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from math import ceil, cos, inf, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.base.errors import InputError

OUTPUTS = ("identity", "sigmoid")  # what bounds a reconstruction
BLOCK = 64  # rows of a product, see ``losses``
QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)  # per cent, kept in the router's JSON


class Autoencoder(nn.Module):
    """Linear(d, hidden), ReLU, Linear(hidden, d), both with bias (Eq. 8).

    ``output: sigmoid`` bounds the reconstruction to (0, 1) as in the published code; features have
    negative entries, so ``identity`` is the default of the pipeline.
    """

    kind = "autoencoder"

    def __init__(self, dim: int, hidden: int, output: str = "identity", task: str = "") -> None:
        super().__init__()
        self.task, self.output = task, output
        self.encoder = nn.utils.skip_init(nn.Linear, dim, hidden)
        self.decoder = nn.utils.skip_init(nn.Linear, hidden, dim)

    @property
    def dim(self) -> int:
        """Length of a feature row."""
        return self.encoder.in_features

    def packed(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Weights and notes from which :func:`rebuild` makes it again."""
        return self.state_dict(), {"output": self.output}

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruction of feature rows, (..., d) -> (..., d)."""
        restored = self.decoder(F.relu(self.encoder(z)))
        return torch.sigmoid(restored) if self.output == "sigmoid" else restored


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: the result is the same on any number of cores, and matrices of this
    size gain nothing from a second one (on a busy machine they lose tenfold).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- Fit -----------------------------------------------------------------------------------------


def n_steps(n: int, router: Mapping[str, Any]) -> int:
    """Optimiser steps of a fit to n rows: the epochs asked for, but at least ``min_steps``."""
    return max(router["epochs"] * ceil(n / router["batch_size"]), router["min_steps"])


def _batches(n: int, size: int, random: np.random.Generator) -> Iterator[Tensor]:
    """Row indices of one batch after another, without end; every epoch is shuffled anew."""
    while True:
        yield from torch.from_numpy(random.permutation(n)).split(size)


@_one_thread()
def fit(
    z: np.ndarray, task: str, router: Mapping[str, Any], steps: int, random: np.random.Generator
) -> Autoencoder:
    """Fit an autoencoder to feature rows ``z`` (n, d) with Adam on the mean squared error (Eq. 9).

    Initial weights (uniform within 1/sqrt(fan-in), as in ``nn.Linear``) and the order of the rows
    come from ``random`` alone. ``router.patience`` may end it before ``steps``.
    """
    rows = torch.from_numpy(z)
    model = Autoencoder(rows.shape[1], router["hidden"], router["output"], task)
    with torch.no_grad():
        for layer in (model.encoder, model.decoder):
            bound = layer.in_features**-0.5
            for parameter in (layer.weight, layer.bias):
                drawn = random.uniform(-bound, bound, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn))
    optimizer = torch.optim.Adam(model.parameters(), lr=router["learning_rate"], fused=True)
    batches = _batches(len(rows), router["batch_size"], random)
    an_epoch = ceil(len(rows) / router["batch_size"])
    epochs = ceil(steps / an_epoch)
    best, waited = inf, 0
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = learning_rate(epoch, epochs, router)
        found = torch.zeros(())
        for batch in islice(batches, min(an_epoch, steps - epoch * an_epoch)):
            target = rows[batch]
            optimizer.zero_grad()
            loss = F.mse_loss(model(target), target)
            loss.backward()
            optimizer.step()
            found += loss.detach()
        waited = 0 if found < best else waited + 1
        best = min(best, float(found))
        if waited == router["patience"]:
            break
    return model.requires_grad_(False)


def learning_rate(epoch: int, epochs: int, router: Mapping[str, Any]) -> float:
    """Step size of an epoch, counted from 0: constant, or on a cosine that would be at
    ``final_learning_rate`` after the last."""
    first, final = router["learning_rate"], router["final_learning_rate"]
    if final is None:
        return first
    return final + (first - final) * (1 + cos(pi * epoch / epochs)) / 2


@_one_thread()
@torch.no_grad()
def losses(model: Autoencoder, z: np.ndarray) -> np.ndarray:
    """Reconstruction loss of each row of ``z`` (n, d): mean squared error over features, (n,).

    A sample's route must not depend on its neighbours, but a matrix product may round a row
    differently when it has more rows. So all products have ``BLOCK`` rows, zeros where there are no
    more, and double precision, of which a loss keeps what single precision has.
    """
    exact = copy.deepcopy(model).double()
    found = np.empty(len(z), dtype=np.float32)
    block = torch.zeros(BLOCK, model.dim, dtype=torch.float64)
    for start in range(0, len(z), BLOCK):
        part = z[start : start + BLOCK]
        block.zero_()[: len(part)] = torch.from_numpy(np.ascontiguousarray(part, np.float32))
        found[start : start + BLOCK] = (exact(block) - block).square().mean(dim=1)[: len(part)]
    return found.astype(np.float64)


# --- Threshold -----------------------------------------------------------------------------------


def folds(n: int, k: int, random: np.random.Generator) -> list[np.ndarray]:
    """Split n rows into k parts whose sizes differ by one at most: the sorted indices of each."""
    return [np.sort(part) for part in np.array_split(random.permutation(n), k)]


def out_of_fold_losses(
    z: np.ndarray,
    task: str,
    router: Mapping[str, Any],
    steps: int,
    k: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Loss of each row under an autoencoder fitted to the other folds only, (n,).

    Raises:
        InputError: fewer rows than folds.
    """
    if len(z) < k:
        raise InputError(
            f"task {task!r}: {len(z)} feature rows are too few for threshold.folds = {k}; "
            "raise subset.min_samples or lower threshold.folds."
        )
    found = np.empty(len(z))
    parts = folds(len(z), k, random)
    for held_out, stream in zip(parts, random.spawn(k), strict=True):
        others = np.setdiff1d(np.arange(len(z)), held_out)
        found[held_out] = losses(fit(z[others], task, router, steps, stream), z[held_out])
    return found


def summary(values: np.ndarray) -> dict[str, float]:
    """Order statistics, mean and standard deviation of losses (linear interpolation)."""
    points = np.percentile(values, QUANTILES)
    return {
        "min": float(values.min()),
        **{f"p{q:02d}": float(value) for q, value in zip(QUANTILES, points, strict=True)},
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
    }


# --- File ----------------------------------------------------------------------------------------


def rebuild(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Autoencoder:
    """The autoencoder of these weights; ``notes`` say its task and output function.

    Raises:
        KeyError, ValueError, RuntimeError: they are not those of an autoencoder.
    """
    if notes["output"] not in OUTPUTS:
        raise ValueError(f"output {notes['output']!r}, allowed {', '.join(OUTPUTS)}")
    hidden, dim = tensors["encoder.weight"].shape
    model = Autoencoder(dim, hidden, notes["output"], notes["task"])
    model.load_state_dict(tensors)
    return model.requires_grad_(False)

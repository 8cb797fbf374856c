"""Router of one task: an autoencoder of its features and a threshold on its loss (Eqs. 8-9).

The loss of a feature row says how foreign it is to the task. An autoencoder reconstructs the rows
it was fitted to far better than other rows of the same task, so the threshold is calibrated on
rows left out of the fit (``threshold.calibration: cross_fit``).
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.base import artifacts
from stages.core.base.errors import InputError

BLOCK = 64  # rows of a product, see ``losses``
QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)  # per cent, kept in the router's JSON


@dataclass(frozen=True)
class Features:
    """Feature rows of one task: ``z`` is a float32 array (n, d) in the order of ``sample_ids``."""

    task: str
    sample_ids: list[str]
    z: np.ndarray


def read_features(path: Path) -> Features:
    """Read the feature rows of a task.

    Raises:
        InputError: no rows, rows of unequal length, or a value that is not finite.
    """
    table = artifacts.read_table("features", path)
    ids = table["sample_id"].to_pylist()
    z = table["z"].combine_chunks()
    lengths = set(z.value_lengths().to_pylist())
    if len(lengths) != 1:
        raise InputError(
            f"{path}: rows must have one common length, found {sorted(lengths, key=str) or 'none'}."
        )
    rows = np.array(z.flatten(), dtype=np.float32).reshape(len(ids), lengths.pop())
    if broken := [name for name, row in zip(ids, rows, strict=True) if not np.isfinite(row).all()]:
        raise InputError(f"{path}: sample {broken[0]!r} has a feature that is not finite.")
    return Features(artifacts.task_of(path), ids, rows)


class Autoencoder(nn.Module):
    """Linear(d, hidden), ReLU, Linear(hidden, d), both with bias (Eq. 8).

    ``output: sigmoid`` bounds the reconstruction to (0, 1) as in the published code; features have
    negative entries, so ``identity`` is the default of the pipeline.
    """

    def __init__(self, dim: int, hidden: int, output: str = "identity", task: str = "") -> None:
        super().__init__()
        self.task, self.output = task, output
        self.encoder = nn.utils.skip_init(nn.Linear, dim, hidden)
        self.decoder = nn.utils.skip_init(nn.Linear, hidden, dim)

    @property
    def dim(self) -> int:
        """Length of a feature row."""
        return self.encoder.in_features

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
    come from ``random`` alone.
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
    for batch in islice(_batches(len(rows), router["batch_size"], random), steps):
        target = rows[batch]
        optimizer.zero_grad()
        F.mse_loss(model(target), target).backward()
        optimizer.step()
    return model.requires_grad_(False)


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
    """Row indices of k parts whose sizes differ by one at most; every row is in one of them."""
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


def save(model: Autoencoder, path: Path, provenance: dict) -> None:
    """Write weights, task and output function as safetensors."""
    artifacts.write_weights(
        path, model.state_dict(), provenance, task=model.task, output=model.output
    )


def load(path: Path) -> Autoencoder:
    """Read what :func:`save` wrote.

    Raises:
        InputError: not a router file.
    """
    tensors, notes = artifacts.read_weights(path)
    try:
        hidden, dim = tensors["encoder.weight"].shape
        model = Autoencoder(dim, hidden, notes["output"], notes["task"])
        model.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        fault = str(error).splitlines()[0]
        raise InputError(f"{path}: not a router's autoencoder: {fault}. Fit it again.") from None
    return model.requires_grad_(False)


def load_all(
    paths: Sequence[Path], tasks: Sequence[str], features: Features, source: Path
) -> list[Autoencoder]:
    """The autoencoders of ``tasks``, one file each in the same order, for rows of ``features``.

    Raises:
        InputError: a router of another task, or of other dimensions than the features of ``source``
            (both files are named).
    """
    _one_each(paths, tasks, "--routers")
    models = [load(path) for path in paths]
    for model, path, task in zip(models, paths, tasks, strict=True):
        _expect_task(path, model.task, task)
        if model.dim != features.z.shape[1]:
            raise InputError(
                f"{path}: the router takes {model.dim} features, but the rows of {source} have "
                f"{features.z.shape[1]}; both must come from the same backbone."
            )
    return models


def read_thresholds(paths: Sequence[Path], tasks: Sequence[str]) -> dict[str, float]:
    """Thresholds from the JSON files of routers, one per task in the same order.

    Raises:
        InputError: not one file per task, or a file of another task.
    """
    _one_each(paths, tasks, "--thresholds")
    routers = [artifacts.read_json("router", path) for path in paths]
    for router, path, task in zip(routers, paths, tasks, strict=True):
        _expect_task(path, router["task"], task)
    return {router["task"]: router["threshold"] for router in routers}


def _one_each(paths: Sequence[Path], tasks: Sequence[str], flag: str) -> None:
    if len(paths) != len(tasks):
        raise InputError(
            f"{flag}: {len(paths)} files for {len(tasks)} tasks ({', '.join(tasks)}); "
            "give one each, in the order of the tasks."
        )


def _expect_task(path: Path, found: str, task: str) -> None:
    if found != task:
        raise InputError(
            f"{path}: made for task {found!r}, expected {task!r}; "
            "files must come in the order of the tasks."
        )

"""Routers whose losses are known exactly, and features of tasks that are easy to tell apart."""

from pathlib import Path

import numpy as np
import torch

from stages.core.base import artifacts
from stages.core.dmole import autoencoder, routers


def cluster(n: int, task: int, seed: int, dim: int = 32, factors: int = 4) -> np.ndarray:
    """Unit rows (n, dim) near a low-dimensional subspace that belongs to the task."""
    own = np.random.default_rng([99, task])
    centre, basis = own.normal(size=dim), 0.5 * own.normal(size=(factors, dim))
    random = np.random.default_rng([seed, task])
    z = centre + random.normal(size=(n, factors)) @ basis + 0.1 * random.normal(size=(n, dim))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def write_constant_router(
    folder: Path, task: str, bias: list[float], threshold: float = 0.5
) -> None:
    """{task}.safetensors and .json of a router that reconstructs ``bias`` whatever it is given.

    All weights are zero, so the loss of a row is its mean squared distance from ``bias``.
    """
    model = autoencoder.Autoencoder(len(bias), 3, "identity", task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.bias.copy_(torch.tensor(bias))
    routers.save(model, folder / f"{task}.safetensors", {})
    calibration = {"method": "train", "folds": None, "quantile": 1, "factor": 1}
    content = {
        "task": task,
        "kind": "autoencoder",
        "numbers": 7 * len(bias) + 3,
        "n": 1,
        "dim": len(bias),
        "hidden": 3,
        "output": "identity",
        "threshold": threshold,
        "calibration": calibration | {"quantile_value": threshold},
        "losses": {"in_fold": autoencoder.summary(np.array([1.0])), "out_of_fold": None},
        "steps": 1,
        "provenance": {},
    }
    artifacts.write_json("router", folder / f"{task}.json", content)

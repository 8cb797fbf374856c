"""The plane in which feature rows of several tasks vary most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def principal_plane(rows: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Places of all rows in the plane of their two largest principal components.

    Equal rows give equal places: a component points to where its largest entry is positive.

    Args:
        rows: feature rows ``(n, d)`` by task, d at least 2.

    Returns:
        Places ``(n, 2)`` by task, and each component's share of the whole variance ``(2,)``.
    """
    every = np.concatenate(list(rows.values())).astype(np.float64)
    centred = every - every.mean(axis=0)
    _, lengths, components = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((2, every.shape[1]))
    axes[: len(components)] = components[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.where(axes[[0, 1], largest] < 0, -1.0, 1.0)[:, None]
    variances = np.zeros(2)
    variances[: len(lengths)] = np.square(lengths[:2])
    places = np.split(centred @ axes.T, np.cumsum([len(part) for part in rows.values()])[:-1])
    total = np.square(lengths).sum()
    return dict(zip(rows, places, strict=True)), variances / total if total else variances

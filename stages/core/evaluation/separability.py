"""How far the tasks of a stream can be told apart without learning anything.

Routing scores mean little where tasks have fixed questions and a source of pictures each: then the
nearest mean feature already names the task, and no router can do better.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

Rows = Mapping[str, np.ndarray]  # feature rows (n, d) by task


def by_prototype(known: Rows, asked: Rows) -> dict[str, float]:
    """Share of each task's rows of ``asked`` whose nearest mean of ``known`` is the own task's."""
    means = np.stack([rows.mean(axis=0) for rows in known.values()])
    return _shares(known, asked, lambda rows: _distances(rows, means).argmin(axis=1))


def by_neighbour(known: Rows, asked: Rows) -> dict[str, float]:
    """The same by the nearest row of ``known``; of equally near ones the first counts."""
    every = np.concatenate(list(known.values()))
    owner = np.repeat(np.arange(len(known)), [len(rows) for rows in known.values()])
    return _shares(known, asked, lambda rows: owner[_distances(rows, every).argmin(axis=1)])


def _shares(
    known: Rows, asked: Rows, guess: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    tasks = list(known)
    return {task: float((guess(rows) == tasks.index(task)).mean()) for task, rows in asked.items()}


def _distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distances ``(n, m)`` of ``(n, d)`` and ``(m, d)``, in double precision."""
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    squares = np.square(rows).sum(1)[:, None] + np.square(others).sum(1)
    return squares - 2 * rows @ others.T


def shared(
    asked: Mapping[str, Collection[str]], known: Mapping[str, Collection[str]]
) -> dict[str, dict[str, float]]:
    """By task, the share of what it asks that each task of ``known`` holds: prompts or images."""
    return {
        task: {
            other: sum(item in held for item in items) / len(items) if items else 0.0
            for other, held in ((name, set(values)) for name, values in known.items())
        }
        for task, items in asked.items()
    }

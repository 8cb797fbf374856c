"""Separability of hand-made tasks."""

import numpy as np
import pytest

from stages.core.evaluation.separability import by_neighbour, by_prototype, shared

KNOWN = {"a": np.array([[0.0, 0.0], [4.0, 0.0]]), "b": np.array([[0.0, 6.0], [4.0, 6.0]])}


def test_the_nearest_mean():
    """Means (2, 0) and (2, 6): the second coordinate decides at 3."""
    asked = {
        "a": np.array([[9.0, 2.9], [0.0, 3.1]]),
        "b": np.array([[0.0, 4.0], [0.0, 5.0], [0.0, 1.0], [0.0, 9.0]]),
    }
    assert by_prototype(KNOWN, asked) == {"a": 0.5, "b": 0.75}


def test_the_nearest_row():
    """A ring around another task: its mean is the other's, its rows are not."""
    ring = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
    known = {"ring": ring, "middle": np.array([[0.5, 0.0], [0.0, 0.5]])}
    asked = {"ring": 0.9 * ring, "middle": np.array([[0.1, 0.1]])}
    assert by_neighbour(known, asked) == {"ring": 1.0, "middle": 1.0}
    assert by_prototype(known, asked)["ring"] < 1


def test_what_tasks_share():
    asked = {"a": ["what", "what", "where"], "b": []}
    known = {"a": ["what", "where"], "b": ["where"]}
    found = shared(asked, known)
    assert found["a"] == {"a": 1.0, "b": pytest.approx(1 / 3)}
    assert found["b"] == {"a": 0.0, "b": 0.0}

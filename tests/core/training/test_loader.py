"""How many processes load rows."""

import os

import pytest
import torch

from stages.core.base.errors import InputError
from stages.core.training.loader import worker_count


@pytest.mark.parametrize(
    ("cpus", "processes", "workers"),
    [(1, 1, 0), (2, 1, 1), (8, 1, 7), (16, 2, 7), (8, 2, 3), (64, 1, 7), (4, 8, 0)],
)
def test_auto_is_a_processs_cpus_minus_one(monkeypatch, cpus, processes, workers):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert worker_count("auto") == workers


def test_auto_leaves_the_cpus_to_a_model_without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker_count("auto") == 0


def test_a_number_is_taken():
    assert [worker_count(text) for text in ("0", "12")] == [0, 12]


@pytest.mark.parametrize("text", ["many", "-1", "1.5", ""])
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=f"--workers '{text}': give auto, or a number from 0"):
        worker_count(text)

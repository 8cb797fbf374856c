"""Random masks of several processes."""

import pytest
import torch
from torch.nn import functional as F

from stages.core.training.phases import draw_own_masks


def mask(monkeypatch, rank: int, size: int, seed: int) -> torch.Tensor:
    """The dropout mask that a process of a job draws, after the Trainer has seeded it."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))
    torch.manual_seed(seed)
    draw_own_masks(seed)
    return F.dropout(torch.ones(1000), 0.5)


def test_processes_draw_different_masks(monkeypatch) -> None:
    masks = [mask(monkeypatch, rank, 4, seed=3) for rank in range(4)]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert 0.4 < float((one != other).float().mean()) < 0.6  # as independent ones do


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_draws_the_same_again(monkeypatch, rank: int) -> None:
    first, again = (mask(monkeypatch, rank, 2, seed=3) for _ in range(2))
    assert torch.equal(first, again)


def test_one_process_draws_as_the_trainer_seeded_it(monkeypatch) -> None:
    found = mask(monkeypatch, 0, 1, seed=3)
    torch.manual_seed(3)
    assert torch.equal(found, F.dropout(torch.ones(1000), 0.5))


def test_the_largest_seed_is_a_seed(monkeypatch) -> None:
    mask(monkeypatch, 7, 8, seed=2**32 - 1)

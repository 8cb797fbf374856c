"""Rows and random masks of several processes."""

import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F

from stages.core.backbone.load import load_backbone
from stages.core.training import examples
from stages.core.training.phases import draw_own_masks
from tests.conftest import make_row

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}


def test_rows_tokenised_by_several_processes_are_the_same(tiny_folder, monkeypatch) -> None:
    prompter = load_backbone(tiny_folder, SETTINGS).prompter
    rows = [make_row(i, "What? " * (i % 3 + 1), f"thing {i}") for i in range(7)]
    table = Dataset.from_list([{**row, "choices": row.get("choices")} for row in rows])
    alone = examples.examples(table, prompter, workers=2)  # too few for a second process
    monkeypatch.setattr(examples, "ROWS", 2)
    helped = examples.examples(table, prompter, workers=2)
    assert helped.column_names == alone.column_names
    for key in ("sample_id", "input_ids", "labels", "length"):
        assert helped[key][:] == alone[key][:]


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

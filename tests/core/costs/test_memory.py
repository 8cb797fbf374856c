"""The formulas of memory beside what the stages' own code keeps, on published shapes.

The whole table is docs/memory.md, made by tests/benchmarks/bench_memory.py.
"""

from __future__ import annotations

import pytest
import torch

from tests.helpers import ledger_stages as stages
from tests.helpers.ledger import Ledger


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return stages.Shape("internvl2-2b", tmp_path_factory.mktemp("shape"))


def test_the_shape_is_the_published_one(shape):
    assert shape.arch.parameters == 2_205_754_368
    assert (shape.sample.tiles, shape.image_tokens) == (7, 7 * 256)


@pytest.mark.parametrize("again", [False, True])
def test_training(shape, again):
    assert stages.training(shape, 2, again=again).ratio == pytest.approx(1, abs=0.15)


def test_prediction_and_features(shape):
    assert stages.prediction(shape, 4).ratio == pytest.approx(1, abs=0.15)
    assert stages.image_features(shape, 16).ratio == pytest.approx(1, abs=0.15)


def test_the_profile(shape):
    assert stages.profile(shape, 2, again=True).ratio == pytest.approx(1, abs=0.15)


def test_the_ledger_counts_what_lives():
    """Two factors of 4 x 4 numbers and their product, of which one factor is let go."""
    with Ledger() as ledger:
        a, b = (torch.empty(4, 4, device="meta") for _ in range(2))
        assert ledger.live == 2 * 64
        c = a @ b
        del a
        assert (ledger.live, ledger.peak) == (2 * 64, 3 * 64)
        view = c[:2].T  # no bytes of its own
        assert ledger.live == 2 * 64
        mask = view > 0  # a truth value: real, and all of them true
        assert mask.device.type == "cpu"
        assert bool(mask.all())
        assert view[mask].shape == (8,)

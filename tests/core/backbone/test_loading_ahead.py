"""Loading processes change neither features nor gradients nor answers."""

import numpy as np
import pytest

from stages.core.backbone.decoding import answer_rows
from stages.core.backbone.features import extract_features
from stages.core.backbone.load import load_backbone
from stages.core.dmole.gradients import profile_gradients
from tests.conftest import make_row

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 2}
LIMITS = {"max_new_tokens": 4, "min_new_tokens": 0}


@pytest.fixture(scope="module")
def backbone(tiny_folder):
    return load_backbone(tiny_folder, SETTINGS)


@pytest.fixture(scope="module")
def rows():
    rows = [make_row(i, "What? " * (i % 3 + 1), f"thing {i}", (40, 20)) for i in range(5)]
    rows.append(make_row(9, "Only text", "yes") | {"images": [], "width": None, "height": None})
    return rows


def answers(backbone, rows):
    return answer_rows(backbone, backbone.model, rows, LIMITS, 2, {}, lambda texts: None)


def profile(backbone, rows):
    return profile_gradients(backbone, rows, loss="sample_mean", include_bias=False, batch_size=2)


def features(backbone, rows):
    return extract_features(backbone, rows, normalize=True, batch_size=2)


@pytest.mark.parametrize("compute", [answers, features, profile])
def test_the_same_with_and_without(backbone, rows, monkeypatch, compute):
    alone = compute(backbone, rows)
    monkeypatch.setattr(backbone, "workers", 1)
    helped = compute(backbone, rows)
    if compute is features:
        np.testing.assert_array_equal(helped, alone)
    else:
        assert helped == alone

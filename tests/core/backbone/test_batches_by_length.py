"""Batches of similar length: what is in them; answers and gradients do not depend on it."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.backbone import decoding
from stages.core.backbone.batches import Size, by_length, largest, prompt_size, training_size
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
    """Questions get longer; every second image is cut into two tiles and a thumbnail."""
    shapes = [(40, 40), (80, 40)] * 4
    return [make_row(i, "Why? " * (1 + i // 2), "so", shape) for i, shape in enumerate(shapes)]


def sized(*tokens):
    return [Size(number, 0, 1) for number in tokens]


def test_the_longest_come_first_in_batches_of_a_number():
    items = ["a", "b", "c", "d", "e"]
    assert by_length(items, sized(3, 9, 5, 9, 1), 2) == [["b", "d"], ["c", "a"], ["e"]]


def test_a_batch_has_what_its_longest_item_allows():
    """Twenty positions at most."""
    sizes = sized(10, 2, 7, 3, 6, 1)
    found = by_length(sizes, sizes, lambda size: 20 // size.tokens)
    assert [[size.tokens for size in part] for part in found] == [[10, 7], [6, 3, 2], [1]]


def test_a_shorter_row_with_more_images_counts():
    """Sixteen image tokens at most: three rows of four, but not with one of eight among them."""
    sizes = [Size(20, 4, 1), Size(19, 8, 1), Size(18, 4, 1), Size(17, 4, 1)]
    found = by_length(sizes, sizes, lambda size: 16 // size.image_tokens)
    assert [len(part) for part in found] == [2, 2]
    assert largest(sizes) == Size(20, 8, 1)


def test_sizes_are_those_of_the_models_inputs(backbone, rows):
    prompter = backbone.prompter
    for row in rows:
        asked, taught = prompter.generation_example(row), prompter.training_example(row)
        image = prompter.images.config.image_token_id
        prompt, whole = prompt_size(prompter, row), training_size(prompter, row)
        assert (prompt.tokens, prompt.answer) == (len(asked["input_ids"]), 0)
        assert whole.tokens == len(taught["input_ids"])
        assert whole.answer == sum(label != -100 for label in taught["labels"])
        assert prompt.image_tokens == whole.image_tokens == asked["input_ids"].count(image) > 0


def test_rows_of_many_tiles_are_answered_together(backbone, rows, monkeypatch):
    """Long questions about small images are shorter than short ones about large images. Every
    sample's answer is the one that it gets alone."""
    masks, generate = [], decoding.generate

    def noted(model, prompter, batch, limits):
        masks.append(batch["attention_mask"])
        return generate(model, prompter, batch, limits)

    alone = decoding.answer_rows(backbone, backbone.model, rows, LIMITS, 1, {}, lambda _: None)
    monkeypatch.setattr(decoding, "generate", noted)

    by_four = decoding.answer_rows(backbone, backbone.model, rows, LIMITS, 4, {}, lambda _: None)
    assert by_four == alone
    several = prompt_size(backbone.prompter, rows[1]).image_tokens
    single = prompt_size(backbone.prompter, rows[0]).image_tokens
    lengths = [sorted(mask.sum(dim=1).tolist()) for mask in masks]
    assert min(lengths[0]) > max(lengths[1])
    assert several == 3 * single


def test_the_gradient_profile_does_not_depend_on_its_batches(backbone, rows):
    settings = {"loss": "token_mean", "include_bias": False}
    rows = rows * 2  # two rows in each fold
    alone = profile_gradients(backbone, rows, **settings, batch_size=1)
    cut = profile_gradients(backbone, rows, **settings, batch_size=lambda size: 1 + size.tokens % 2)
    for field in ("score", "standard_error", "mean_loss"):
        got, want = ([row[field] for row in found] for found in (cut, alone))
        np.testing.assert_allclose(got, want, rtol=1e-4)

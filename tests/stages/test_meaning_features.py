"""Features by meaning: invariant to what a request's wording says nothing with."""

import numpy as np
import pytest
import torch

from stages.core.backbone import features
from stages.core.backbone.generic_prompts import PROMPTS
from stages.extract_features import texts_of


def meaning(tiny, rows, texts):
    return features.extract_features(
        tiny, rows, style="meaning", normalize=True, batch_size=2, texts=texts
    )


def test_each_half_has_length_one(tiny, rows):
    z = meaning(tiny, rows[:4], [["one"], ["two"], ["three"], ["four"]])
    width = features.feature_sizes(tiny)[0]
    for half in (z[:, :width], z[:, width:]):
        assert np.linalg.norm(half, axis=1) == pytest.approx(np.ones(4), abs=1e-5)


def test_the_text_half_is_the_state_before_the_word_that_would_follow(tiny):
    texts = ["Where?", "What kind of thing is shown?"]
    found = features.text_features(tiny, texts, "meaning").numpy()
    tokenizer, model = tiny.prompter.tokenizer, tiny.model.model.language_model
    for row, text in zip(found, ["where", "what kind of thing is shown"], strict=True):
        pieces = (features.OPENING, text, features.CLOSING)
        ids = [t for p in pieces for t in tokenizer(p, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            want = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(row, want, atol=1e-5)


def test_case_marks_and_line_breaks_are_no_difference(tiny, rows):
    first = meaning(tiny, rows[:1], [["What is shown?\nAnswer in a word."]])
    other = meaning(tiny, rows[:1], [["WHAT is   shown\nanswer in a word"]])
    np.testing.assert_array_equal(first, other)


def test_wordings_of_a_row_follow_it_and_share_its_image(tiny, rows):
    z = meaning(tiny, rows[:2], [["a", "b", "c"], ["d"]])
    width = features.feature_sizes(tiny)[0]
    assert len(z) == 4
    assert (z[0, :width] == z[1, :width]).all() and (z[0, :width] == z[2, :width]).all()
    assert not (z[0, width:] == z[1, width:]).all()


def test_whitening_centres_and_evens_out_generic_features():
    random = np.random.default_rng(0)
    generic = random.normal(size=(400, 6)) * [9, 3, 1, 1, 1, 1] + 5
    moved = features.whitened(generic, generic)
    assert moved.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-5)
    # along an axis: (variance) / (variance + floor), worked out from the covariance itself
    values = np.linalg.eigvalsh(np.cov(generic.T, bias=True))
    want = values / (values + features.SHRINKAGE * values.mean())
    assert np.linalg.eigvalsh(np.cov(moved.T, bias=True)) == pytest.approx(want, rel=1e-3)


def test_wordings_depend_on_the_row_alone(rows):
    both = texts_of(rows[:2], "open_vqa", 3)
    assert both[1] == texts_of(rows[1:2], "open_vqa", 3)[0]
    assert [len(own) for own in both] == [4, 4]
    assert texts_of(rows[:1], "open_vqa", 0) == [[rows[0]["turns"][0]["question"]]]


def test_generic_prompts_differ():
    assert len(set(PROMPTS)) == len(PROMPTS) > 90

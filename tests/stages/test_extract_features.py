"""Features against a per-sample computation without padding."""

import numpy as np
import torch

from stages.core.backbone.features import extract_features
from tests.conftest import make_row


def plain_feature(backbone, row):
    """One sample, no batch: hooks read the towers' last hidden states in a plain forward."""
    model = backbone.model.model
    with torch.no_grad():
        image = backbone.prompter.images.normalised(backbone.prompter.pixel_values(row))
        vision = model.vision_tower(pixel_values=image).last_hidden_state[0].max(dim=0).values
        ids = torch.tensor([backbone.prompter.tokenizer(row["turns"][0]["question"])["input_ids"]])
        states = model.language_model(input_ids=ids, output_hidden_states=True)
        text = states.hidden_states[-1][0].max(dim=0).values
    z = torch.cat([vision, text]).numpy()
    return z / np.sqrt((z**2).sum())


def test_features_equal_the_unpadded_computation(tiny, rows):
    found = extract_features(tiny, rows, normalize=True, batch_size=4)
    want = np.stack([plain_feature(tiny, row) for row in rows])
    np.testing.assert_allclose(found, want, atol=1e-5)
    assert found.dtype == np.float32


def test_without_normalisation_the_direction_stays(tiny, rows):
    raw = extract_features(tiny, rows, normalize=False, batch_size=4)
    unit = extract_features(tiny, rows, normalize=True, batch_size=4)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), unit, atol=1e-6)
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1.0)


def test_the_released_codes_text_is_a_chat_turn(tiny, rows):
    z = extract_features(tiny, rows[:2], text="chat", normalize=False, batch_size=2)
    for row, found in zip(rows, z, strict=False):
        framed = f"<|im_start|>user\n{row['turns'][0]['question']}<|im_end|>"
        ids = tiny.prompter.tokenizer(framed, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            states = tiny.model.model.language_model(input_ids=torch.tensor([ids]))
        want = states.last_hidden_state[0].max(dim=0).values.numpy()
        np.testing.assert_allclose(found[32:], want, atol=1e-5)


def test_a_text_only_row_has_a_zero_image_half(tiny, rows):
    bare = make_row(99, "Only text", "a") | {"images": [], "width": None, "height": None}
    found = extract_features(tiny, [rows[0], bare], normalize=True, batch_size=2)
    assert np.all(found[1, :32] == 0)
    assert np.all(found[0, :32] != 0)


def test_the_answer_does_not_matter(tiny, rows):
    other = [row | {"turns": [row["turns"][0] | {"answer": "something else"}]} for row in rows]
    same = extract_features(tiny, rows, normalize=True, batch_size=4)
    np.testing.assert_array_equal(same, extract_features(tiny, other, normalize=True, batch_size=4))

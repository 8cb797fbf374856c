"""A packed turn is computed exactly as in a conversation of its own."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from stages.pocket import alignment, packing
from stages.pocket.questions import Turn

BOX = (0.1, 0.25, 0.5, 1.0)
TURNS = [
    Turn("name", "What is it?", "a frog"),
    Turn("count", "Where?", "[[1,2]]"),
    Turn("a", "b", "c"),
]


def test_a_turn_sees_the_prefix_and_its_own_past():
    mask = packing.attention_mask(np.array([0, 0, 1, 1, 2, -1]))
    assert mask.astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


@pytest.fixture(scope="module")
def backbone(tiny_folder):
    from stages.core.backbone.load import load_backbone

    settings = {"dtype": "float32", "image_size": None, "max_tiles": 1}
    return load_backbone(tiny_folder, settings)


def test_as_many_turns_as_fit(backbone):
    tokenizer = backbone.prompter.tokenizer
    whole = packing.pack(tokenizer, TURNS, 1, 10**6)
    assert whole.families == ("name", "count", "a")
    short = packing.pack(tokenizer, TURNS, 1, len(whole.ids) - 1)
    assert len(short.families) == 2
    assert len(packing.pack(tokenizer, TURNS, 1, 1).families) == 1
    spans = [whole.weights[whole.segments == i] for i in (1, 2, 3)]
    for turn, weights in zip(TURNS, spans, strict=True):
        count = len(tokenizer(turn.answer).input_ids) + 1  # the answer and its end token
        assert np.count_nonzero(weights) == count
        assert weights.sum() == pytest.approx(count**0.5)


def test_packed_losses_equal_those_of_single_conversations(backbone):
    from stages.core.backbone.losses import token_losses

    prompter = backbone.prompter
    size = prompter.images.tile
    noise = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    packed = packing.pack(prompter.tokenizer, TURNS, prompter.images.tokens_per_tile, 10**6)
    other = packing.pack(prompter.tokenizer, TURNS[:1], prompter.images.tokens_per_tile, 10**6)
    images = alignment.pixels([image, image], prompter.images.mean, prompter.images.std)
    with torch.no_grad():
        loss, families = alignment.turns_loss(
            backbone.model, images, alignment.collate([packed, other])
        )
    stream = io.BytesIO()
    image.save(stream, "PNG")
    expected, weights = [], []
    for turn in [*TURNS, TURNS[0]]:
        row = {
            "sample_id": "",
            "images": [{"bytes": stream.getvalue(), "path": None}],
            "turns": [{"question": turn.question, "answer": turn.answer}],
            "width": size,
            "height": size,
        }
        batch = backbone.to_device(prompter.collate([prompter.training_example(row)]))
        with torch.no_grad():
            losses, _ = token_losses(backbone.model, batch)
        expected.append(losses.sum().item())
        weights.append(len(losses) ** -0.5)
    counts = {name: count for name, (_, count) in families.items()}
    sums = {name: total for name, (total, _) in families.items()}
    assert sums["count"] == pytest.approx(expected[1], rel=1e-4)
    assert sums["a"] == pytest.approx(expected[2], rel=1e-4)
    assert sums["name"] == pytest.approx(expected[0] + expected[3], rel=1e-4)
    assert counts["name"] == 2 * round(weights[0] ** -2)
    total = sum(e * w for e, w in zip(expected, weights, strict=True))
    assert loss.item() == pytest.approx(total / sum(1 / w for w in weights), rel=1e-4)


def test_a_coordinates_first_digits_weigh_most():
    tokens = ["<box>", "[[", "3", "1", "2", ",", "4", "5", "]]", "<end>"]
    relative = [0.1, 0.1, 1.0, 0.3, 0.03, 0.1, 0.3, 0.03, 0.1, 0.1]
    scale = 10**0.5 / sum(relative)
    found = packing.token_weights(tokens, coordinates=True)
    assert found == pytest.approx([scale * value for value in relative])
    assert packing.token_weights(tokens, coordinates=False) == pytest.approx([10**-0.5] * 10)


def test_the_head_reads_boxes_off_the_token_before_the_answer(backbone):
    """A head that always says the middle is off by the boxes' mean distance from it."""
    tokenizer, images = backbone.prompter.tokenizer, backbone.prompter.images
    turn = Turn("box", "Where?", "<box>[[100,250,500,1000]]</box>", BOX)
    packed = packing.pack(tokenizer, [TURNS[0], turn], images.tokens_per_tile, 10**6)
    ((at, box),) = packed.boxes
    assert box == BOX
    assert packed.weights[at] == 0 < packed.weights[at + 1]
    assert tokenizer.decode(packed.ids[at + 1 :]).startswith("<box>")
    noise = torch.randn(1, 3, images.tile, images.tile)
    batch = alignment.collate([packed])
    head = torch.nn.Linear(backbone.model.get_input_embeddings().weight.shape[1], 4)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        without, _ = alignment.turns_loss(backbone.model, noise, batch)
        with_head, families = alignment.turns_loss(backbone.model, noise, batch, head)
    error = (0.4 + 0.25 + 0.0 + 0.5) / 4
    assert (with_head - without).item() == pytest.approx(4 * error, rel=1e-4)
    assert families["box_head"] == pytest.approx([error, 1])


def test_cells_say_what_they_show(backbone):
    from stages.pocket.scenes import Item, Scene

    tokenizer = backbone.prompter.tokenizer  # one token per byte
    items = (Item((0.0, 0.0, 0.5, 0.5), "ab"), Item((0.5, 0.55, 1.0, 1.0), "c"))
    scene = Scene(Image.new("RGB", (8, 8)), "objects", items, "")
    cells = alignment.CellLabeller(tokenizer, 2).label(scene)
    named = {i: {} for i in range(4)}
    for cell, token, share in cells.tokens:
        text = tokenizer.decode([token])
        named[cell][text] = named[cell].get(text, 0.0) + share
    assert named[0] == pytest.approx({" ": 1 / 3, "a": 1 / 3, "b": 1 / 3})
    assert named[3] == pytest.approx({" ": 1 / 2, "c": 1 / 2})
    for empty in (1, 2):
        assert named[empty] == {" ": 1.0}  # the first token of the word for nothing
        assert np.isnan(cells.boxes[empty]).all()
    assert cells.boxes[0] == pytest.approx([0.0, 0.0, 0.5, 0.5])
    assert cells.boxes[3] == pytest.approx([0.5, 0.55, 1.0, 1.0])


def test_training_goes_on_from_its_checkpoint(tiny_folder, pool_folder, tmp_path, monkeypatch):
    """A short run leaves a delta that fits the model; a longer one continues its count."""
    from itertools import count
    from types import SimpleNamespace

    from safetensors import safe_open

    from stages.pocket import align_backbone as stage
    from stages.pocket.align_backbone import align_backbone
    from stages.pocket.delta import apply_delta, read_delta

    def progress() -> dict:
        with safe_open(tmp_path / "checkpoint" / "state.safetensors", "pt") as stored:
            return json.loads(stored.metadata()["progress"])

    ticks = count()  # a clock that moves 10 ms at each look, however busy the machine is
    monkeypatch.setattr(stage, "time", SimpleNamespace(monotonic=lambda: 0.01 * next(ticks)))
    align_backbone(tiny_folder, pool_folder, tmp_path, minutes=0.01, seed=0)
    first = progress()
    assert first["phase"] == "turns"
    assert first["step"] >= 1
    align_backbone(tiny_folder, pool_folder, tmp_path, minutes=0.02, seed=0)
    second = progress()
    assert second["scene"] > first["scene"]
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_folder)
    state = model.state_dict()
    merged = apply_delta(state, read_delta(tmp_path / "delta.safetensors"))
    changed = {name for name in state if merged[name] is not state[name]}
    assert "model.multi_modal_projector.linear_1.weight" in changed
    assert "model.vision_tower.encoder.layer.0.mlp.fc1.weight" in changed
    assert "model.language_model.layers.1.mlp.down_proj.weight" in changed
    assert "model.language_model.embed_tokens.weight" not in changed
    model.load_state_dict({name: value.float() for name, value in merged.items()})

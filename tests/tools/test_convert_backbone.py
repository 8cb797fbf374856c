"""Conversion of the published layout: same numbers, every tensor once, errors that name it."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from stages.core.backbone.features import extract_features
from stages.core.backbone.folder import check_folder
from stages.core.backbone.load import load_backbone
from stages.core.backbone.published_internvl import SYSTEM_MESSAGE
from stages.core.base.errors import InputError
from stages.core.base.provenance import file_hash
from stages.core.dmole.gradients import profile_gradients
from stages.tools.convert_backbone import convert_backbone
from tests.conftest import make_row
from tests.helpers import published_layout as layout

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 2}
WQKV = "language_model.model.layers.1.attention.wqkv.weight"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(folder, tensors) of the published layout."""
    folder = tmp_path_factory.mktemp("published") / "InternVL2"
    return folder, layout.write_published(folder)


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    """The converted folder, in several shards."""
    folder = tmp_path_factory.mktemp("converted") / "native"
    assert convert_backbone(published[0], folder, shard_bytes=60_000) == {
        "tensors_read": len(published[1]),
        "tensors_written": len(published[1]) + 2 * layout.LAYERS + 4 * layout.VISION_LAYERS,
    }
    return folder


@pytest.fixture(scope="module")
def native(converted):
    check_folder(converted)
    return load_backbone(converted, SETTINGS)


# --- numbers --------------------------------------------------------------------------------


def test_the_native_model_computes_what_the_published_layout_says(published, native):
    _, weights = published
    random = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, layout.IMAGE, layout.IMAGE, generator=random)
    turns = [{"question": "what is in the thing?", "answer": "a hat"}]
    ids = torch.tensor([native.prompter.conversation(turns, [2])[0]])
    image_id = native.model.config.image_token_id
    assert int((ids == image_id).sum()) == 8
    with torch.no_grad():
        states = layout.vision_states(weights, pixels)
        tower = native.model.model.vision_tower(pixel_values=pixels).last_hidden_state
        torch.testing.assert_close(tower, states, atol=1e-5, rtol=1e-5)
        tokens = native.model.model.get_image_features(pixel_values=pixels).pooler_output
        expected = layout.image_tokens(weights, states)
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
        output = native.model(input_ids=ids, pixel_values=pixels)
        expected = layout.logits(weights, ids, pixels, image_id)
    assert expected.std() > 0.3
    torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=1e-5)


def test_the_large_vision_encoder_is_converted_too(tmp_path):
    """RMS norms, also of queries and keys, and no biases there: InternVL2-26B's."""
    weights = layout.write_published(tmp_path / "src", large=True)
    convert_backbone(tmp_path / "src", tmp_path / "dst")
    model = load_backbone(tmp_path / "dst", SETTINGS).model
    pixels = torch.randn(2, 3, layout.IMAGE, layout.IMAGE, generator=torch.Generator())
    with torch.no_grad():
        states = layout.vision_states(weights, pixels)
        tower = model.model.vision_tower(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(tower, states, atol=1e-5, rtol=1e-5)


def test_features_and_profile_run_on_the_converted_folder(published, native):
    rows = [make_row(i, "what is it?", "a thing") for i in range(2)]
    z = extract_features(native, rows, normalize=False, batch_size=2)
    with torch.no_grad():
        thumbnails = torch.cat([native.prompter.thumbnail(row) for row in rows])
        tiles = native.prompter.images.normalised(thumbnails)
        states = layout.vision_states(published[1], tiles)
    np.testing.assert_allclose(z[:, : layout.VISION], states.amax(1).numpy(), rtol=1e-5)
    scores = profile_gradients(native, rows, loss="sample_mean", include_bias=False, batch_size=2)
    assert len(scores) == 2 * (layout.LAYERS + layout.VISION_LAYERS)
    assert all(row["score"] > 0 for row in scores)


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_and_precision_do_not_matter(tmp_path, shards):
    weights = layout.write_published(tmp_path / "src", shards, torch.bfloat16)
    convert_backbone(tmp_path / "src", tmp_path / "dst")
    found = load_file(tmp_path / "dst" / "model.safetensors")
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    key = "model.language_model.layers.1.self_attn.{}_proj.weight"
    rows = weights[WQKV].view(layout.GROUPS, -1, layout.SIZE, layout.WIDTH)
    assert torch.equal(found[key.format("k")][: layout.SIZE], rows[0, 3])
    assert torch.equal(found[key.format("v")][layout.SIZE :], rows[1, 4])
    assert torch.equal(found[key.format("q")][4 * layout.SIZE : 5 * layout.SIZE], rows[1, 1])
    assert json.loads((tmp_path / "dst" / "config.json").read_text())["dtype"] == "bfloat16"


def test_output_shards_keep_their_limit_and_hold_everything_once(converted):
    index = json.loads((converted / "model.safetensors.index.json").read_text())["weight_map"]
    stored = []
    for path in converted.glob("model-*.safetensors"):
        with safe_open(path, framework="pt") as handle:
            names = list(handle.keys())
            sizes = [handle.get_tensor(name).nbytes for name in names]
        assert sum(sizes) <= 60_000 or len(sizes) == 1
        assert all(index[name] == path.name for name in names)
        stored += names
    assert sorted(stored) == sorted(index)
    assert len(set(index.values())) > 2


def test_the_folder_records_where_it_comes_from(published, converted):
    record = json.loads((converted / "conversion.json").read_text())
    assert record["source"]["model-1.safetensors"] == file_hash(
        published[0] / "model-1.safetensors"
    )
    assert {"config.json", "tokenizer.model", "tokenizer_config.json"} <= set(record["source"])
    sums = json.loads((converted / "checksums.json").read_text())
    assert sums == {
        path.name: file_hash(path) for path in converted.iterdir() if path.name != "checksums.json"
    }


# --- text -----------------------------------------------------------------------------------


def test_the_prompt_is_the_published_conversation(native):
    tokenizer = native.prompter.tokenizer
    ids = native.prompter.prompt([{"question": "what?", "answer": ""}], [1])
    assert tokenizer.decode(ids) == (
        f"<s><|im_start|>system\n{SYSTEM_MESSAGE}<|im_end|><|im_start|>user\n"
        f"<img>{'<IMG_CONTEXT>' * 4}</img>\nwhat?<|im_end|><|im_start|>assistant\n"
    )
    assert ids[:2] == [1, tokenizer.convert_tokens_to_ids("<|im_start|>")]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "</s>")
    start = len(layout.pieces()) - len(layout.RENAMED)
    for index, text in enumerate(layout.RENAMED + layout.ADDED, start):
        assert tokenizer.convert_tokens_to_ids(text) == index


@pytest.mark.parametrize("dummy_prefix", [False, True])
def test_text_is_cut_as_sentencepiece_does(tmp_path, dummy_prefix):
    from tokenizers import AddedToken

    from stages.core.backbone.sentencepiece_bpe import build

    layout.write_tokenizer(tmp_path, dummy_prefix)
    core = build(tmp_path / "tokenizer.model", {2: AddedToken("</s>", special=True)})
    random = np.random.default_rng(0)
    texts = ["the thing", "than  hat\n", "书 the", " a", "He said: thing"]
    texts += ["".join(random.choice(list("thaeing ?\n"), 30)) for _ in range(50)]
    for text in texts:
        ids = core.encode(text, add_special_tokens=False).ids
        assert ids == layout.sentencepiece_ids(text, dummy_prefix), text
        assert core.decode(ids) == text


def test_a_tokenizer_json_beside_the_model_is_preferred(published, converted, tmp_path):
    source = copy(published[0], tmp_path)
    (source / "tokenizer.json").write_bytes((converted / "tokenizer.json").read_bytes())
    (source / "tokenizer.model").unlink()
    convert_backbone(source, tmp_path / "dst")
    assert (tmp_path / "dst/tokenizer.json").read_text() == (
        converted / "tokenizer.json"
    ).read_text()


# --- errors ---------------------------------------------------------------------------------


def copy(source, tmp_path):
    """The published folder with every file linked, so that a test can replace one."""
    folder = tmp_path / "src"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).hardlink_to(path)
    return folder


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


TENSOR_ERRORS = {
    "missing": (lambda w: without(w, WQKV), rf"missing tensors \(1\): {re.escape(WQKV)}"),
    "extra": (
        lambda w: w | {"vision_model.encoder.layers.0.ls3": torch.zeros(2)},
        r"unknown tensor vision_model\.encoder\.layers\.0\.ls3.*Did you mean .*layers\.0\.ls\d",
    ),
    "too deep": (
        lambda w: w | {WQKV.replace("layers.1", "layers.2"): w[WQKV]},
        r"unknown tensor language_model\.model\.layers\.2",
    ),
    "shape": (
        lambda w: w | {WQKV: w[WQKV][:-8]},
        rf"tensor {re.escape(WQKV)}: shape \(72, 48\), config.json implies \(80, 48\)",
    ),
}


@pytest.mark.parametrize("case", TENSOR_ERRORS)
def test_wrong_tensors_are_named_and_nothing_is_written(published, tmp_path, case):
    change, message = TENSOR_ERRORS[case]
    source = copy(published[0], tmp_path)
    (source / "model.safetensors.index.json").unlink()
    weights = {key: value.clone() for key, value in change(published[1]).items()}
    layout.write_weights(source, weights, shards=1)
    with pytest.raises(InputError, match=message):
        convert_backbone(source, tmp_path / "dst")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


CONFIG_ERRORS = {
    "qwen": (lambda c: c["llm_config"].update(architectures=["Qwen2ForCausalLM"]), "Qwen2.*-hf"),
    "shuffle": (lambda c: c.update(ps_version="v1"), "config.json: ps_version is 'v1'"),
    "norm": (
        lambda c: c["vision_config"].update(norm_type="rmsnorm"),
        "vision_config.norm_type: unknown norm 'rmsnorm'. Did you mean 'rms_norm'",
    ),
    "epsilon": (
        lambda c: c["vision_config"].update(qk_normalization=True, layer_norm_eps=1e-5),
        "layer_norm_eps is 1e-05; with qk_normalization only 1e-06",
    ),
    "key": (lambda c: c["llm_config"].pop("rope_theta"), "'llm_config.rope_theta' is missing"),
    "rope": (
        lambda c: c["llm_config"].update(rope_scaling={"type": "dynamics", "factor": 2.0}),
        "unknown rope type 'dynamics'. Did you mean 'dynamic'",
    ),
}


@pytest.mark.parametrize("case", CONFIG_ERRORS)
def test_other_models_are_refused(published, tmp_path, case):
    change, message = CONFIG_ERRORS[case]
    source = copy(published[0], tmp_path)
    rewrite(source / "config.json", change)
    with pytest.raises(InputError, match=message):
        convert_backbone(source, tmp_path / "dst")


def test_damaged_files_are_named(published, tmp_path):
    source = copy(published[0], tmp_path)
    (source / "tokenizer.model").unlink()
    (source / "tokenizer.model").write_bytes(b"\xff\xff no protobuf")
    with pytest.raises(InputError, match="tokenizer.model: not a sentencepiece"):
        convert_backbone(source, tmp_path / "dst")
    (source / "model-0.safetensors").unlink()
    (source / "model-0.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="model-0.safetensors: not readable as safetensors"):
        convert_backbone(source, tmp_path / "dst")
    (source / "model-0.safetensors").unlink()
    with pytest.raises(InputError, match="missing model-0.safetensors"):
        convert_backbone(source, tmp_path / "dst")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_a_missing_special_token_is_named(published, tmp_path):
    source = copy(published[0], tmp_path)

    def drop(settings):
        last = max(settings["added_tokens_decoder"], key=int)
        del settings["added_tokens_decoder"][str(int(last) - 1)]

    rewrite(source / "tokenizer_config.json", drop)
    with pytest.raises(InputError, match="<quad> has id"):
        convert_backbone(source, tmp_path / "dst")


def test_an_existing_folder_is_left_alone(published, tmp_path):
    (tmp_path / "dst").mkdir()
    with pytest.raises(InputError, match="dst: exists already"):
        convert_backbone(published[0], tmp_path / "dst")

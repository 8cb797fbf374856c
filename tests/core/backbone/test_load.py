"""Backbone folders: what a damaged or unknown one says."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.backbone.decoding import generate
from stages.core.backbone.folder import check_folder
from stages.core.backbone.load import load_backbone, pick_device
from stages.core.base.errors import InputError

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "copy")


COMMIT = "0123456789abcdef" * 2 + "01234567"


def test_a_hub_model_is_read_from_the_cache_of_its_commit(tiny_folder, tmp_path, monkeypatch):
    """The cache as huggingface_hub lays it out; the tests have no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    shutil.copytree(tiny_folder, tmp_path / f"models--someone--tiny/snapshots/{COMMIT}")
    backbone = load_backbone("someone/tiny", SETTINGS | {"revision": COMMIT})
    assert backbone.path == "someone/tiny"
    assert len(backbone.slots) == 8
    other = COMMIT[::-1]
    with pytest.raises(InputError, match=rf"someone/tiny at {other}: .*hf download"):
        load_backbone("someone/tiny", SETTINGS | {"revision": other})


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"copy: missing {name}"):
        check_folder(copy)


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no such folder.*make demo"):
        check_folder(tmp_path / "nowhere")


def test_a_missing_shard_is_named(copy):
    (copy / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "model-1.safetensors").touch()
    with pytest.raises(
        InputError, match=r"missing model-2\.safetensors$|missing model-2.safetensors\."
    ):
        check_folder(copy)


def test_an_unknown_architecture_is_an_input_error(copy):
    path = copy / "config.json"
    path.write_text(json.dumps({"model_type": "nonesuch", "architectures": ["Nonesuch"]}))
    with pytest.raises(InputError, match="nonesuch"):
        load_backbone(copy, SETTINGS)


def test_the_published_layout_is_answered_with_the_converter(copy):
    (copy / "config.json").write_text(json.dumps({"model_type": "internvl_chat"}))
    with pytest.raises(InputError, match=r"convert_backbone .*copy .*copy-native"):
        load_backbone(copy, SETTINGS)


def test_image_size_must_fit_the_patches(tiny_folder):
    with pytest.raises(InputError, match="multiple of 28"):
        load_backbone(tiny_folder, SETTINGS | {"image_size": 50})


def test_everything_is_frozen_and_in_eval_mode(tiny):
    assert not any(p.requires_grad for p in tiny.model.parameters())
    assert not any(module.training for module in tiny.model.modules())


def test_a_gpu_that_was_given_but_cannot_be_used(monkeypatch):
    """A build of torch for GPUs on a node without a working driver, or a container without --nv."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert pick_device().type == "cpu"
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(InputError, match=r"GPU 2 was given to this job, but torch .* cannot use"):
        pick_device()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert pick_device().type == "cpu"


# --- weights ----------------------------------------------------------------------------------


def reweigh(folder, change):
    """The folder's weights changed by a function of the mapping of tensors."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({k: t.contiguous() for k, t in tensors.items()}, folder / "model.safetensors")


def prefixed(text):
    return lambda tensors: {text + name: tensor for name, tensor in tensors.items()}


def without(word):
    return lambda tensors: {name: t for name, t in tensors.items() if word not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (prefixed("_orig_mod."), r"tensors are named _orig_mod\..*compiled model"),
        (prefixed("base_model.model."), r"named base_model\.model\..*merge the adapter"),
        (prefixed("module."), r"named module\..*wrapped model"),
        (without("vision_tower"), "no weight of the vision encoder"),
        (without("language_model"), None),
        (lambda tensors: {k: t for k, t in tensors.items() if "vision" in k}, "language model"),
    ],
)
def test_what_headers_show_is_told_before_the_first_job(copy, change, message):
    reweigh(copy, change)
    if message:
        with pytest.raises(InputError, match=message):
            check_folder(copy)
    with pytest.raises(InputError, match=message or "weights do not fit"):
        load_backbone(copy, SETTINGS)


STORED = "language_model.model.layers.1.mlp.up_proj.weight"
ONE = "model.language_model.layers.1.mlp.up_proj.weight"  # the same in the model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(STORED), rf"1 missing \({ONE}\)"),
        (without("multi_modal_projector"), r"missing \(model.multi_modal_projector"),
        (lambda t: t | {"extra.weight": torch.zeros(2)}, r"1 not known to the model \(extra.wei"),
        (
            lambda t: t | {STORED: t[STORED][:-1]},
            rf"of another shape \({ONE} \(63, 32\) instead of",
        ),
        (lambda t: {k.replace("up_proj", "up"): v for k, v in t.items()}, "missing.*not known"),
    ],
)
def test_weights_that_do_not_fit_are_never_filled_in(copy, change, message):
    reweigh(copy, change)
    with pytest.raises(InputError, match=f"weights do not fit its config.json: .*{message}"):
        load_backbone(copy, SETTINGS)


def test_tied_weights_are_no_fault(copy):
    config = json.loads((copy / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (copy / "config.json").write_text(json.dumps(config))
    reweigh(copy, without("lm_head"))
    model = load_backbone(copy, SETTINGS).model
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def cut(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_weights_that_are_cut_off_are_named(copy, share):
    cut(copy / "model.safetensors", share)
    with pytest.raises(
        InputError, match=r"model\.safetensors: (cut off|not readable as safetensors)"
    ):
        check_folder(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff\xfe", '"text"'])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_damaged_settings_are_named(copy, name, text):
    (copy / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        check_folder(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}'])
def test_a_damaged_tokenizer_is_named(copy, text):
    (copy / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        load_backbone(copy, SETTINGS)


def test_an_index_without_files_is_named(copy):
    (copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}')
    with pytest.raises(InputError, match="weight_map: expected the file of each tensor"):
        check_folder(copy)


# --- tokenizer and decoding -------------------------------------------------------------------


def retell(folder, **changes):
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_a_tokenizer_without_pad_token_pads_with_the_end(copy):
    retell(copy, pad_token=None)
    tokenizer = load_backbone(copy, SETTINGS).prompter.tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_tokenizer_without_chat_template_is_refused(copy):
    retell(copy, chat_template=None)
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputError, match="no chat template"):
        load_backbone(copy, SETTINGS)


SAID = [
    {"repetition_penalty": 5.0},
    {"no_repeat_ngram_size": 1},
    {"forced_eos_token_id": 3},
    {"num_return_sequences": 2},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"suppress_tokens": [10, 11, 12, 13]},
    {"do_sample": True, "temperature": 3.0},
    {"num_beams": 4, "length_penalty": -5.0},
    {"min_length": 400},
]


def test_what_changes_no_answer_is_not_mentioned(copy, capsys):
    said = {"use_cache": True, "output_attentions": False, "pad_token_id": 0, "max_length": 20}
    (copy / "generation_config.json").write_text(json.dumps(said))
    load_backbone(copy, SETTINGS)
    assert "ignored" not in capsys.readouterr().err


@pytest.mark.parametrize("said", SAID, ids=lambda said: next(iter(said)))
def test_answers_are_greedy_whatever_the_folder_says(tiny_folder, copy, rows, capsys, said):
    """The reference: the likeliest token again and again, by forward passes of the model alone."""
    (copy / "generation_config.json").write_text(json.dumps(said))
    backbone = load_backbone(copy, SETTINGS)
    if any(not key.endswith("token_id") for key in said):
        assert f"ignored: {', '.join(sorted(said))}" in capsys.readouterr().err
    prompter, model = backbone.prompter, backbone.model
    batch = prompter.collate([prompter.generation_example(rows[0])], side="left")
    batch = backbone.to_device(batch)
    ids = batch["input_ids"]
    for _ in range(6):
        inputs = {k: batch[k] for k in ("pixel_values",) if k in batch}
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
        ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        if ids[0, -1] == prompter.tokenizer.eos_token_id:
            break
    told = prompter.tokenizer.decode(
        ids[0, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )
    limits = {"max_new_tokens": 6, "min_new_tokens": 0}
    assert generate(model, prompter, batch, limits) == [told.strip()]

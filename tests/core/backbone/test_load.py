"""Backbone folders: what a damaged or unknown one says."""

import json
import shutil

import pytest
import torch

from stages.core.backbone.load import check_folder, load_backbone, pick_device
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

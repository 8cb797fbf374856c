"""Measuring a backbone, on a tiny one that exists and on one made of a bare configuration."""

import json

import pytest

from stages.core.backbone.architecture import locate, read_architecture
from stages.core.backbone.load import load_backbone
from stages.core.base.errors import InputError
from stages.tools import random_backbone
from stages.tools.measure import main
from stages.tools.random_backbone import write_random_backbone
from tests.helpers import published_layout as layout

STEPS = ["load", "profile_gradients", "train_expert, one step", "generate, 10 tokens"]


@pytest.fixture
def config_only(tmp_path):
    """A published configuration without weights or tokenizer."""
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(layout.config(vocabulary=300)))
    return folder


def test_random_weights_have_the_configurations_shape(config_only, tmp_path, monkeypatch):
    monkeypatch.setattr(random_backbone, "SHARD_BYTES", 50_000)
    write_random_backbone(config_only, tmp_path / "full", seed=0)
    assert len(list((tmp_path / "full").glob("*.safetensors"))) > 2
    settings = {"dtype": "bfloat16", "image_size": None, "max_tiles": 1}
    backbone = load_backbone(tmp_path / "full", settings)
    arch, _ = read_architecture(config_only, settings)
    weights = dict(backbone.model.named_parameters())
    assert sum(p.numel() for p in weights.values()) == arch.parameters
    assert {str(p.dtype) for p in weights.values()} == {"torch.bfloat16"}
    assert weights["lm_head.weight"].float().std() == pytest.approx(0.02, rel=0.05)
    assert locate(config_only) == config_only


def test_random_weights_are_made_for_internvl_alone(tmp_path):
    with pytest.raises(
        InputError, match="llava-1.5-7b: random weights are made for InternVL alone"
    ):
        write_random_backbone(locate("llava-1.5-7b"), tmp_path / "full", seed=0)


def test_every_step_is_measured_with_the_workflows_own_code(config_only, tmp_path, capsys):
    main(
        ["--backbone", str(config_only), "--work", str(tmp_path / "work"), "--max-tiles", "6"]
        + ["--batch", "2", "--steps", "2", "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    assert [step["step"] for step in found["steps"]] == STEPS
    assert found["place"] == "cpu bfloat16"
    assert all(step["seconds"] > 0 and step["peak_bytes"] > 2**20 for step in found["steps"])
    _, profile, training, answers = found["steps"]
    # 2 x 2 image tokens in each of 7 tiles; the chat template and two texts, a token per byte
    text = len("<img></img>\n") + len("Provide a one-sentence caption for the provided image.")
    assert training["tokens"] == profile["tokens"] > 2 * (7 * 4 + text - 10)
    assert answers["tokens"] < training["tokens"] + 2 * 10
    assert profile["flops"] > training["flops"] > answers["flops"] > 0
    assert list((tmp_path / "work").iterdir()) == []  # nothing is left behind


def test_the_suite_stands_beside_a_bare_loop_and_the_planner(config_only, tmp_path, capsys):
    report = tmp_path / "gpu.md"
    main(["--backbone", str(config_only), "--suite", str(report), "--json"])
    found = json.loads(capsys.readouterr().out)
    bare = "transformers and PEFT alone, one step"
    again = "train_expert, one step, checkpointing"
    names = [step["step"] for step in found["steps"]]
    assert names == ["load", "profile_gradients", "extract_features", bare, again, *STEPS[2:]]
    steps = {step["step"]: step for step in found["steps"]}
    plain, checkpointed = steps[STEPS[2]], steps[again]
    assert plain["flops"] == steps[bare]["flops"]  # the same expert and rows
    assert 0 < checkpointed["planned_bytes"] < plain["planned_bytes"]
    assert all(
        step["planned_bytes"] > 0 for name, step in steps.items() if name not in ("load", bare)
    )
    text = report.read_text()
    assert text.count("\n| ") == 2 + len(names)
    assert "cmit measure --backbone" in text
    share = steps[bare]["seconds"] / plain["seconds"]  # not of the step with checkpointing
    assert f"takes {share:.2f} of the time of our step without checkpointing" in text

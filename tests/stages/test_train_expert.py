"""Training on the tiny backbone: what moves, what stays, resume, NaN, reproducibility."""

import json
import os
import signal
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages import train_expert
from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError
from stages.core.experts.job import Job
from stages.core.training import trainer as training
from stages.core.training.checkpoints import claim
from stages.core.training.progress import read_progress
from stages.methods import registry as methods

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 1}
TASK = {
    "name": "b",
    "kind": "open_vqa",
    "metric": "accuracy",
    "max_new_tokens": 5,
    "min_new_tokens": 0,
}


def used(**changes):
    settings = {
        "learning_rate": 1e-2,
        "weight_decay": 0.01,
        "warmup_ratio": 0.03,
        "max_grad_norm": 1.0,
        "epochs": 2,
        "batch_size": 4,
        "micro_batch_size": 2,
        "activation_checkpointing": "auto",
        "checkpoint_steps": 2,
        "prompt_variants": False,
        "per_task": {},
    }
    return {
        "expert": {"rank": 8, "alpha": 16, "qkv": "split", "dropout": 0.05},
        "training": settings | changes,
        "budget": {"ratio": 0.5},
        "method_options": {},
        "backbone": SETTINGS,
    }


def allocation(keys):
    return {"slots": [{"tower": m, "block": b, "slot": k, "allocated": True} for m, b, k in keys]}


def run(
    folder, data, out, method="dmole", states=None, transfer=None, keys=None, workers=0, **changes
):
    backbone = load_backbone(folder, SETTINGS)
    summary = train_expert.train_expert(
        methods.load(method),
        backbone,
        {"b": data},
        states or {},
        Job(
            "b",
            ["a", "b"],
            used(**changes),
            backbone.slots,
            allocation(keys or [("vision", 0, "qkv"), ("llm", 1, "o")]),
            transfer,
            seed=3,
        ),
        checkpoints=out.parent / f"{out.name}_checkpoints",
        fingerprint={"run": 1},
        out=out,
        workers=workers,
    )
    return summary, load_file(out / "adapter_model.safetensors"), backbone


@pytest.fixture
def data(tmp_path, rows):
    path = tmp_path / "train.parquet"
    artifacts.write_table("data", path, rows, task=TASK, provenance={})
    return path


def test_loss_falls_and_only_the_expert_changes(tiny_folder, data, tmp_path):
    summary, weights, backbone = run(tiny_folder, data, tmp_path / "b", epochs=8)
    losses = [loss for _, loss in summary["loss"]]
    assert sum(losses[-3:]) < sum(losses[:3])
    norms = summary["gradient_norm"]
    assert [step for step, _ in norms] == [step for step, _ in summary["loss"]]
    assert all(norm > 0 for _, norm in norms)
    assert any(weights[k].abs().sum() > 0 for k in weights if "lora_B" in k)
    # rank 8: q, k, v of vision block 0 (32 -> 32) and o of language block 1 (32 -> 32)
    assert summary["trainable_parameters"] == 4 * 8 * 64
    fresh = load_backbone(tiny_folder, SETTINGS).model.state_dict()
    kept = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): value
        for name, value in backbone.model.state_dict().items()
        if "lora_" not in name
    }
    assert all(torch.equal(fresh[name], kept[name]) for name in fresh)


def test_how_far_it_is_stands_beside_the_checkpoints(tiny_folder, data, tmp_path):
    summary, _, _ = run(tiny_folder, data, tmp_path / "x")
    told = read_progress(tmp_path / "x_checkpoints")
    assert [told["step"], told["loss"]] == summary["loss"][-1]
    assert (told["phase"], told["steps"], told["seconds_left"]) == (1, told["step"], 0)
    assert told["samples_per_second"] > 0
    assert told["gpu_memory"] is None or told["gpu_memory"] > 0


def test_the_parent_is_active_frozen_and_matters(tiny_folder, data, tmp_path):
    run(tiny_folder, data, tmp_path / "a", keys=[("llm", 1, "o")])
    before = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    parent = {"a": tmp_path / "a"}
    _, alone, _ = run(tiny_folder, data, tmp_path / "b1")
    _, beside, backbone = run(tiny_folder, data, tmp_path / "b2", states=parent)
    assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == before
    live = {k: v for k, v in backbone.model.state_dict().items() if ".a.weight" in k}
    stored = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert sorted(float(v.sum()) for v in live.values()) == sorted(
        float(v.sum()) for v in stored.values()
    )
    assert any(not torch.equal(alone[k], beside[k]) for k in alone)


def test_same_seed_same_bytes(tiny_folder, data, tmp_path):
    for name in ("x1", "x2"):
        run(tiny_folder, data, tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "x1" / file).read_bytes() == (tmp_path / "x2" / file).read_bytes()


def test_a_killed_run_resumes_to_the_same_weights(tiny_folder, data, tmp_path, monkeypatch):
    """The run dies in step 4; its last checkpoint is of step 2."""
    _, whole, _ = run(tiny_folder, data, tmp_path / "whole")
    calls = {"steps": []}
    original = training.ExpertTrainer.compute_loss

    def dying(self, *args, **kwargs):
        calls["steps"].append(self.state.global_step)
        if self.state.global_step == 3 and not calls.get("died"):
            calls["died"] = True
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(training.ExpertTrainer, "compute_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_folder, data, tmp_path / "again")
    assert not (tmp_path / "again" / "adapter_model.safetensors").exists()
    calls["steps"].clear()
    _, resumed, _ = run(tiny_folder, data, tmp_path / "again")
    assert min(calls["steps"]) == 2
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(
    tiny_folder, data, tmp_path, monkeypatch
):
    """The run dies while it writes its second checkpoint, of step 4."""
    _, whole, _ = run(tiny_folder, data, tmp_path / "whole")
    save = training.ExpertTrainer._save_rng_state
    died, resumed_from = [], []

    def dying(self, folder):
        if self.state.global_step == 4 and not died:
            died.append(sorted(p.name for p in Path(folder).parent.iterdir()))
            raise KeyboardInterrupt
        save(self, folder)

    train = training.ExpertTrainer.train

    def watched(self, resume_from_checkpoint):
        resumed_from.append(resume_from_checkpoint and Path(resume_from_checkpoint).name)
        return train(self, resume_from_checkpoint=resume_from_checkpoint)

    monkeypatch.setattr(training.ExpertTrainer, "_save_rng_state", dying)
    monkeypatch.setattr(training.ExpertTrainer, "train", watched)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_folder, data, tmp_path / "again")
    _, resumed, _ = run(tiny_folder, data, tmp_path / "again")
    assert died == [["checkpoint-2", "checkpoint-4"]]
    assert resumed_from == [None, "checkpoint-2"]
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path):
    checkpoints = tmp_path / "c"
    claim(checkpoints, {"run": 1})
    (checkpoints / "phase0").mkdir()
    claim(checkpoints, {"run": 1})
    assert (checkpoints / "phase0").exists()
    claim(checkpoints, {"run": 2})
    assert not (checkpoints / "phase0").exists()


def test_nan_names_task_step_and_samples(tiny_folder, data, tmp_path):
    with pytest.raises(InputError, match=r"task b: loss is (nan|inf) at step \d+; samples s\d"):
        run(tiny_folder, data, tmp_path / "b", learning_rate=1e30, max_grad_norm=1e30)


def test_sequential_lora_goes_on_from_the_previous_state(tiny_folder, data, tmp_path):
    summary, first, _ = run(tiny_folder, data, tmp_path / "a", method="seq_ft")
    # rank 4 on all slots: vision 4 linears a block, language q, o 32 -> 32 and k, v 32 -> 16
    assert summary["trainable_parameters"] == 2 * 4 * (4 * 64 + 2 * 64 + 2 * 48)
    _, second, _ = run(
        tiny_folder,
        data,
        tmp_path / "b",
        method="seq_ft",
        states={"a": tmp_path / "a"},
        learning_rate=1e-12,
    )
    assert all(torch.allclose(first[k], second[k], atol=1e-6) for k in first)


def test_ranks_match_a_given_size(tiny_folder, data, tmp_path):
    """Experts of rank 8 on the language model's half of the slots, which are the smaller ones."""
    size = 2 * 8 * (2 * 64 + 2 * 48)
    file, out = tmp_path / "b.json", tmp_path / "experts" / "b"
    content = {"task": "b", "trainable_parameters": size, "provenance": {}}
    artifacts.write_json("size", file, content)
    arguments = ["--method", "seq_ft", "--task", "b", "--tasks", "a", "b", "--seed", "0"]
    arguments += ["--data", str(data), "--backbone", str(tiny_folder), "--out", str(out)]
    arguments += ["--checkpoints", str(tmp_path / "c"), "--config", json.dumps(used())]
    train_expert.main([*arguments, "--match", str(file)])
    training = json.loads((out / "training.json").read_text())
    assert training["trainable_parameters"] == pytest.approx(size, rel=0.02)
    assert training["stored_parameters"] == training["trainable_parameters"]


def test_command_line_leaves_only_the_finished_folder(tiny_folder, data, tmp_path):
    out = tmp_path / "experts" / "b"
    arguments = ["--method", "seq_ft", "--task", "b", "--tasks", "a", "b", "--seed", "0"]
    arguments += ["--data", str(data), "--backbone", str(tiny_folder), "--out", str(out)]
    arguments += ["--checkpoints", str(tmp_path / "c"), "--config", json.dumps(used())]
    train_expert.main(arguments)
    assert sorted(p.name for p in out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "provenance.json",
        "training.json",
    ]
    assert [p.name for p in out.parent.iterdir()] == ["b"]
    assert not (tmp_path / "c").exists()


def test_a_full_disk_keeps_the_checkpoint_before(tiny_folder, data, tmp_path, monkeypatch):
    """torch.save fails in its own words while the checkpoint of step 4 is written."""
    _, whole, _ = run(tiny_folder, data, tmp_path / "whole")
    save = training.ExpertTrainer._save_rng_state

    def full(self, folder):
        if self.state.global_step == 4:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 5 vs 3")
        save(self, folder)

    monkeypatch.setattr(training.ExpertTrainer, "_save_rng_state", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        run(tiny_folder, data, tmp_path / "again")
    phase = tmp_path / "again_checkpoints" / "phase0"
    assert raised.value.filename == str(phase / "checkpoint-4")
    assert [path.name for path in phase.iterdir()] == ["checkpoint-2"]
    monkeypatch.undo()
    _, resumed, _ = run(tiny_folder, data, tmp_path / "again")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


@pytest.mark.parametrize("full", ["checkpoints", "out"])
def test_a_disk_that_is_full_from_the_start(tiny_folder, data, tmp_path, small_disk, capsys, full):
    (small_disk / "other").write_bytes(b"x" * 250_000)
    places = {"checkpoints": tmp_path / "c", "out": tmp_path / "experts" / "b"}
    places[full] = small_disk / "new" / "b"
    arguments = ["--method", "seq_ft", "--task", "b", "--tasks", "a", "b", "--seed", "0"]
    arguments += ["--data", str(data), "--backbone", str(tiny_folder)]
    arguments += ["--out", str(places["out"]), "--checkpoints", str(places["checkpoints"])]
    with pytest.raises(SystemExit):
        cli.run(train_expert.main, [*arguments, "--config", json.dumps(used())])
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith(f"error: {small_disk}")
    assert "No space left on device: free some space and run again" in message
    assert not places["out"].exists()


def test_an_orphan_does_not_replace_the_expert_of_another_training(
    tiny_folder, data, tmp_path, monkeypatch
):
    """While it learns, another training takes its lock and finishes."""
    out = tmp_path / "experts" / "b"
    lock, original = out.with_name(".b.lock"), training.ExpertTrainer.compute_loss

    def overtaken(self, *args, **kwargs):
        out.mkdir(exist_ok=True)
        (out / "training.json").write_text("the other's")
        lock.write_text("the other's")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(training.ExpertTrainer, "compute_loss", overtaken)
    arguments = ["--method", "seq_ft", "--task", "b", "--tasks", "a", "b", "--seed", "0"]
    arguments += ["--data", str(data), "--backbone", str(tiny_folder), "--out", str(out)]
    arguments += ["--checkpoints", str(tmp_path / "c"), "--config", json.dumps(used(epochs=1))]
    with pytest.raises(InputError, match="another training took over"):
        train_expert.main(arguments)
    assert [path.name for path in out.iterdir()] == ["training.json"]
    assert (out / "training.json").read_text() == lock.read_text() == "the other's"


def test_the_number_of_loading_processes_changes_nothing(tiny_folder, data, tmp_path, monkeypatch):
    """Three steps of ten rows; SLURM's signal to all processes of a job does not end the loading
    ones."""
    seen, original = {}, training.ExpertTrainer.compute_loss

    def watched(self, model, inputs, *args, **kwargs):
        key = self.args.dataloader_num_workers
        seen.setdefault(key, []).append((self.state.global_step, *inputs["sample_id"]))
        if self.state.global_step:  # by now each of them has loaded
            for worker in active_children():
                os.kill(worker.pid, signal.SIGTERM)
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(training.ExpertTrainer, "compute_loss", watched)
    _, alone, _ = run(tiny_folder, data, tmp_path / "alone", epochs=1)
    _, helped, _ = run(tiny_folder, data, tmp_path / "helped", epochs=1, workers=2)
    assert seen[0] == seen[2]
    assert [step for step, *_ in seen[0]] == [0, 0, 1, 1, 2]
    assert all(torch.equal(alone[key], helped[key]) for key in alone)

"""Slot norms against plain autograd over the whole model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages import profile_gradients as stage
from stages.core.backbone.slots import find_slots
from stages.core.base import artifacts
from stages.core.dmole import gradients
from tests.core.backbone.test_slots import qwen2_vl


def plain_losses(backbone, rows):
    """Per-sample answer loss from the logits, one unpadded sample at a time."""
    for row in rows:
        batch = backbone.to_device(
            backbone.prompter.collate([backbone.prompter.training_example(row)])
        )
        labels = batch.pop("labels")[0, 1:]
        batch.pop("sample_id")
        logits = backbone.model(**batch).logits[0, :-1]
        yield F.cross_entropy(logits[labels != -100], labels[labels != -100], reduction="none")


def slot_norms(model, slots, include_bias=False):
    norms = []
    for slot in slots:
        linears = [model.get_submodule(name) for name in slot.linears]
        weights = [m.weight.grad.flatten() for m in linears]
        biases = [m.bias.grad for m in linears if include_bias and m.bias is not None]
        norms.append(sum(float(torch.cat(parts).norm()) for parts in (weights, biases) if parts))
    return norms


@pytest.mark.parametrize("loss", ["sample_mean", "token_mean"])
@pytest.mark.parametrize("include_bias", [False, True])
def test_norms_equal_plain_autograd(tiny, rows, loss, include_bias):
    found = stage.profile_gradients(tiny, rows, loss=loss, include_bias=include_bias, batch_size=4)
    tiny.model.requires_grad_(True)  # the whole model, embeddings and all
    losses = list(plain_losses(tiny, rows))
    total = (
        torch.stack([part.mean() for part in losses]).mean()
        if loss == "sample_mean"
        else torch.cat(losses).mean()
    )
    total.backward()
    want = slot_norms(tiny.model, tiny.slots, include_bias)
    np.testing.assert_allclose([row["score"] for row in found], want, rtol=1e-4)
    assert found[0]["mean_loss"] == pytest.approx(float(total), rel=1e-5)
    assert min(want) > 0


def test_batch_size_does_not_matter(tiny, rows):
    one, many = (
        stage.profile_gradients(tiny, rows, loss="sample_mean", include_bias=False, batch_size=n)
        for n in (1, 10)
    )
    for field in ("score", "standard_error"):
        np.testing.assert_allclose([r[field] for r in one], [r[field] for r in many], rtol=1e-3)


def test_standard_error_is_the_spread_of_fold_norms(tiny, rows):
    found = stage.profile_gradients(
        tiny, rows, loss="sample_mean", include_bias=False, batch_size=4
    )
    norms = []
    for fold in range(8):
        part = stage.profile_gradients(
            tiny, rows[fold::8], loss="sample_mean", include_bias=False, batch_size=4
        )
        norms.append([row["score"] for row in part])
    want = np.std(norms, axis=0, ddof=1) / np.sqrt(8)
    np.testing.assert_allclose([r["standard_error"] for r in found], want, rtol=1e-4)


def test_the_backbone_is_left_frozen(tiny, rows):
    stage.profile_gradients(tiny, rows, loss="sample_mean", include_bias=False, batch_size=4)
    assert not any(p.requires_grad or p.grad is not None for p in tiny.model.parameters())


def test_fused_qkv_of_another_architecture():
    model = qwen2_vl().eval().requires_grad_(False)
    patches = torch.randn(16, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(0))
    inputs = {
        "input_ids": torch.tensor([[1] + [model.config.image_token_id % 300] * 4 + [7, 8, 9]]),
        "pixel_values": patches,
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
    }
    model.config.image_token_id %= 300
    inputs["mm_token_type_ids"] = (inputs["input_ids"] == model.config.image_token_id).int()
    inputs["labels"] = inputs["input_ids"]
    meter = gradients.GradientMeter(SimpleNamespace(model=model, slots=find_slots(model)), False)
    meter.open_fold()
    for _ in range(2):  # accumulates over batches
        model(**inputs).loss.backward()
    meter.close_fold(1.0)
    found = meter.norms(2.0)
    meter.detach()
    model.requires_grad_(True)
    model(**inputs).loss.backward()
    want = slot_norms(model, find_slots(model))
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert min(want) > 0


def test_command_line(tiny_folder, rows, tmp_path):
    task = {
        "name": "t",
        "kind": "open_vqa",
        "metric": "accuracy",
        "max_new_tokens": 5,
        "min_new_tokens": 0,
    }
    artifacts.write_table("data", tmp_path / "rows.parquet", rows, task=task, provenance={})
    config = (
        '{"profile": {"loss": "sample_mean", "include_bias": false, "batch_size": 4},'
        ' "backbone": {"dtype": "float32", "image_size": null, "max_tiles": 1}}'
    )
    command = ["--subset", f"{tmp_path}/rows.parquet", "--backbone", str(tiny_folder)]
    stage.main([*command, "--config", config, "--out", f"{tmp_path}/profile.parquet"])
    written = artifacts.read_table("profile", tmp_path / "profile.parquet")
    assert written.num_rows == 8
    notes = artifacts.metadata(tmp_path / "profile.parquet")
    assert notes["task"] == "t"
    assert notes["shapes"]["llm.0.qkv"] == [[32, 32], [16, 32], [16, 32]]
    assert set(notes["provenance"]["inputs"]) == {"subset", "backbone"}

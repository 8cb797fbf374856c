"""Activation checkpointing changes what is kept, and nothing else."""

from __future__ import annotations

import pytest
import torch

from stages.core.backbone.checkpointing import checkpointed
from stages.core.backbone.load import load_backbone
from stages.core.experts.lora import ExpertModel
from tests.helpers import battery
from tests.helpers.tiny_families import write_backbone


class Kept:
    """Bytes that autograd keeps for the backward pass."""

    def __init__(self) -> None:
        self.bytes = 0

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        self.bytes += tensor.nbytes
        return tensor

    def watching(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Counts while it lasts."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)


def step(learner, batch, on):
    """Loss, gradients and kept bytes of a forward and backward pass in training mode."""
    kept = Kept()
    learner.model.train()
    torch.manual_seed(5)  # the same dropout masks
    with checkpointed(learner.model, on):
        with kept.watching():
            loss = learner.answer_loss(batch)
        loss.backward()
    found = {name: p.grad.clone() for name, p in learner.trainable().items() if p.grad is not None}
    learner.model.zero_grad()
    return loss.detach(), found, kept.bytes


@pytest.mark.parametrize("family", ["internvl2_5", "qwen2_5_vl", "smolvlm"])
def test_the_same_loss_and_gradients_of_an_expert_beside_a_frozen_one(family, tmp_path):
    write_backbone(family, tmp_path / "backbone")
    backbone = load_backbone(tmp_path / "backbone", battery.SETTINGS)
    learner, ranks = ExpertModel(backbone), {slot.key: 4 for slot in backbone.slots}
    for name in ("parent", "own"):
        learner.add(name, ranks, scale=2.0, dropout=0.5, seed=1)
    with torch.no_grad():  # as after some training: both matrices matter
        for name, parameter in learner.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    learner.activate(["parent", "own"], training="own")
    batch = battery.batch_of(backbone, battery.rows_of("things", 4))
    plain, wanted, much = step(learner, batch, on=False)
    again, found, little = step(learner, batch, on=True)
    torch.testing.assert_close(again, plain, rtol=1e-6, atol=0)
    assert wanted.keys() == found.keys()
    assert len(wanted) > 8
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9, msg=name)
    assert little < 0.7 * much


@pytest.mark.parametrize("name", ["dense_mole", "lwf"])  # a loss of the gates, a teacher
def test_the_same_training_of_mixtures_and_teachers(name, tiny_folder, tmp_path):
    data, found = battery.write_data(tmp_path), {}
    for on in (False, True):
        settings = battery.config(epochs=1, activation_checkpointing=on)
        for task in battery.TASKS:
            out = tmp_path / str(on)
            out.mkdir(exist_ok=True)
            found[on] = battery.train(name, task, tiny_folder, data, out, settings)
    losses = [torch.tensor(done.summary["loss"]) for done in found.values()]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for key, value in found[False].weights().items():
        torch.testing.assert_close(found[True].weights()[key], value, rtol=1e-5, atol=1e-7)


def test_a_model_in_eval_mode_is_checkpointed_and_left_as_it_was(tiny):
    batch = battery.batch_of(tiny, battery.rows_of("things", 2))
    modes = {name: module.training for name, module in tiny.model.named_modules()}
    weight = tiny.model.get_submodule(tiny.slots[0].linears[0]).weight.requires_grad_(True)
    bytes_of = []
    for on in (False, True):
        with checkpointed(tiny.model, on), (kept := Kept()).watching():
            tiny.model(**{k: v for k, v in batch.items() if k != "labels"}, use_cache=False)
        bytes_of.append(kept.bytes)
    assert bytes_of[1] < 0.7 * bytes_of[0]
    assert weight.requires_grad
    assert modes == {name: module.training for name, module in tiny.model.named_modules()}

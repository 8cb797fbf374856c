"""Sparse mixture: two experts a token, the dense one without top_k, the balance loss."""

import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from tests.helpers import battery

METHOD = methods.load("sparse_mole")
THINGS = battery.TASKS[0]


def prepared(backbone, **options):
    """A model with random experts, so that routing shows."""
    options = {"sparse_mole": {"experts": 4, **options}}
    job = battery.job_of(backbone, THINGS, battery.config(options))
    model = METHOD.prepare(backbone, job, {})
    torch.manual_seed(1)
    for parameter in model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def weights_seen(model, batch):
    """Weights of the first linear of every slot in one pass, by slot."""
    seen = {}
    hooks = [
        slot.gate.register_forward_hook(lambda m, args, w, name=name: seen.__setitem__(name, w))
        for name, slot in model.slots.items()
    ]
    with torch.no_grad():
        logits = model.model.eval()(**batch).logits
    for hook in hooks:
        hook.remove()
    return seen, logits


def test_a_token_uses_its_two_best_experts(tiny, rows):
    model = prepared(tiny)
    seen, _ = weights_seen(model, battery.batch_of(tiny, rows[:2]))
    for weights in seen.values():
        assert ((weights > 0).sum(-1) == 2).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    used = torch.cat([w.flatten(0, 1) > 0 for w in seen.values()]).unique(dim=0)
    assert len(used) == 6  # every pair of four occurs


def test_without_top_k_it_is_the_dense_mixture(tiny, tiny_folder, rows, tmp_path):
    model = prepared(tiny, top_k=None)
    batch = battery.batch_of(tiny, rows[:2])
    _, got = weights_seen(model, batch)
    METHOD.save(model, None, tmp_path / "a")
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    dense = methods.load("dense_mole").load(backbone, {"a": tmp_path / "a"})
    with torch.no_grad(), dense.using(["a"]) as active:
        assert torch.equal(active(**batch).logits, got)
    _, sparse = weights_seen(prepared(load_backbone(tiny_folder, battery.SETTINGS)), batch)
    assert not torch.allclose(sparse, got, atol=1e-2)


def test_the_choice_of_experts_is_part_of_the_state(tiny, tiny_folder, rows, tmp_path):
    model = prepared(tiny, top_k=1)
    batch = battery.batch_of(tiny, rows[:2])
    _, want = weights_seen(model, batch)
    METHOD.save(model, None, tmp_path / "a")
    saved = METHOD.load(load_backbone(tiny_folder, battery.SETTINGS), {"a": tmp_path / "a"})
    with torch.no_grad(), saved.using(["a"]) as active:
        assert torch.equal(active(**batch).logits, want)


def test_the_balance_loss_counts_once_a_step(tiny, rows):
    """0.5 * sum over slots of N sum_i f_i P_i, times the batch's part of the step's tokens."""
    model = prepared(tiny, balance_loss=0.5)
    model.model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = battery.batch_of(tiny, rows[:3])
    shares = {}
    for name, slot in model.slots.items():
        slot.gate.register_forward_hook(
            lambda m, args, w, name=name: shares.__setitem__(
                name, ((args[0] @ m.weight.T).softmax(-1).detach(), w > 0)
            )
        )
    tokens = int((batch["labels"] != -100).sum())
    loss = METHOD.loss(model, batch | {"n_answer_tokens": 4 * tokens})
    real = batch["attention_mask"].bool()
    want = 0.0
    for name, (softmax, chosen) in shares.items():
        softmax, chosen = (
            part[real] if name.startswith("llm") else part.flatten(0, 1)
            for part in (softmax, chosen)
        )
        mean, taken = softmax.mean(0), chosen.float().sum(0) / chosen.sum()
        want += 4 * sum(float(f * p) for f, p in zip(taken, mean, strict=True))
    answers = model.answer_loss(batch | {"n_answer_tokens": 4 * tokens})
    assert (loss - answers).item() == pytest.approx(0.5 * want / 4, rel=1e-4)
    loss.backward()
    assert all(slot.gate.weight.grad.abs().sum() > 0 for slot in model.slots.values())

"""SAME: the three rules, what a slot remembers, and that training obeys."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from stages.methods.layers.steady import (
    Seen,
    SteadyGate,
    curved,
    hold_router,
    idle,
    look,
    spectral,
)
from tests.helpers import battery

THINGS, PLACES = battery.TASKS


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


def directions(width, kept, seed):
    """An orthonormal basis of ``kept`` random directions."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, kept)))[0]


# --- rules ----------------------------------------------------------------------------------


def test_a_routers_gradient_by_hand():
    """Averages over a window of three: 8, (8 + 2) / 2 = 5, (8 + 2 + 2) / 3 = 4, (2 + 2 + 2) / 3 =
    2; their inverses, relative to the largest: 1/4, 2/5, 1/2, 1, none below 0.8. The fifth
    direction is free, and the last basis vector is empty."""
    basis = torch.eye(5)
    basis[4, 4] = 0
    got = spectral(tensor([10, 10, 10, 10, 10]), basis, tensor(8, 2, 2, 2, 0))
    torch.testing.assert_close(got, tensor([8, 8, 8, 10, 10]))
    close = spectral(tensor([10, 10]), torch.eye(2), tensor(11, 9))  # 10 / 11; 1
    torch.testing.assert_close(close, tensor([100 / 11, 10]))


def test_a_routers_gradient_in_turned_directions():
    basis, gradient = directions(6, 2, 1), np.random.default_rng(2).normal(size=(3, 6))
    inside = gradient @ basis @ np.diag([0.8, 1.0]) @ basis.T  # averages 4 and 2.5
    outside = gradient @ (np.eye(6) - basis @ basis.T)
    got = spectral(torch.tensor(gradient), torch.tensor(basis), torch.tensor([4.0, 1.0]).double())
    np.testing.assert_allclose(got.numpy(), inside + outside, rtol=1e-6)


def test_an_experts_gradient():
    """By hand with variance 4 in the first direction; with all directions known, numpy's inverse
    of the covariance and mu on its diagonal."""
    got = curved(tensor([5, 3]), tensor([1], [0]), tensor(4), damping=1.0)
    torch.testing.assert_close(got, tensor([1, 3]))
    basis, gradient = directions(4, 4, 3), np.random.default_rng(4).normal(size=(2, 4))
    variances = np.array([9.0, 3.0, 0.5, 0.1])
    covariance = basis @ np.diag(variances) @ basis.T
    want = gradient @ np.linalg.inv(covariance + 0.9 * np.eye(4))
    got = curved(*map(torch.tensor, (gradient, basis, variances)), damping=0.9)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


@pytest.mark.parametrize(
    ("use", "importance", "asleep"),
    [
        ([5, 3, 1], [0, 0, 0], [False, False, True]),  # scores 1, 1/2, 0
        ([5, 3, 1], [0, 8, 2], [False, True, True]),  # 1, 1/2 - 1, 0 - 1/4
        ([5, 3, 1], [8, 8, 0], [False, True, True]),  # 0, -1/2, 0: the first of the best
        ([2, 2, 2], [9, 1, 5], [True, False, True]),  # -1, 0, -1/2
        ([7], [3], [False]),
    ],
)
def test_who_sleeps(use, importance, asleep):
    assert idle(tensor(*use), tensor(*importance), threshold=0.1).tolist() == asleep


# --- what a slot remembers ------------------------------------------------------------------


def seen(x, experts=2):
    squares = torch.tensor(x.T @ x, dtype=torch.float32)
    return Seen(len(x), squares, torch.zeros(experts), torch.zeros(experts))


def test_the_covariance_is_that_of_all_tokens_of_all_tasks():
    generator = np.random.default_rng(5)
    first, second = generator.normal(1.0, 2.0, (20, 4)), generator.normal(size=(60, 4))
    gate = SteadyGate(4, 2, components=64)
    gate.remember(seen(first), energy=1.0)
    gate.remember(seen(second), energy=1.0)
    every = np.concatenate([first, second])
    got = gate.basis @ torch.diag(gate.variances) @ gate.basis.T
    np.testing.assert_allclose(got.numpy(), every.T @ every / 80, rtol=1e-4, atol=1e-5)
    assert gate.tokens.item() == 80


@pytest.mark.parametrize(
    ("energy", "components", "kept"),
    [(0.6, 64, [3]), (0.9, 64, [3, 2]), (0.93, 64, [3, 2, 1]), (0.9, 1, [3])],
)
def test_the_fewest_directions_with_their_share(energy, components, kept):
    """Variances 3, 2 and 1: the first has 9/14 of the squares, the first two 13/14 = 0.9286."""
    gate = SteadyGate(3, 2, components)
    gate.remember(seen(np.diag(np.sqrt([6.0, 9.0, 3.0]))), energy)  # 3 tokens
    size = len(gate.variances)
    assert size == min(components, 3)
    np.testing.assert_allclose(gate.variances.numpy(), kept + [0] * (size - len(kept)), atol=1e-5)
    assert gate.basis[1, 0].abs().item() == pytest.approx(1)  # 3 is the second input's
    assert torch.count_nonzero(gate.basis.abs() > 1e-5).item() == len(kept)


def test_importance_is_a_mean_over_all_tokens():
    """(1, 0) over 6 tokens, then sums (4, 2) over 2: (6 + 4) / 8 and 2 / 8."""
    gate = SteadyGate(2, 2, components=2)
    gate.tokens.fill_(8)
    gate.importance.copy_(tensor(1, 0))
    gate.weigh(Seen(2, torch.zeros(2, 2), torch.zeros(2), tensor(4, 2)))
    assert gate.importance.tolist() == [1.25, 0.25]


# --- training -------------------------------------------------------------------------------


def test_a_router_is_held_until_its_handles_are_removed():
    """Averages 8 and 5 of two of three directions: 5/8, at least 0.8, and 1."""
    gate, x = SteadyGate(3, 2, components=3), torch.randn(1, 5, 3)
    gate.basis.copy_(torch.eye(3))
    gate.variances.copy_(tensor(8, 2, 0))

    def gradient():
        gate.zero_grad()
        gate(x)[..., 0].sum().backward()
        return gate.weight.grad.clone()

    free, handles = gradient(), hold_router(gate)
    torch.testing.assert_close(gradient(), free * tensor(0.8, 1, 1))
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(gradient(), free)


@pytest.fixture(scope="module")
def both(tiny_folder, tmp_path_factory):
    """The model of the second task, whose training only looks: what it saw there, and after."""
    method, out = methods.load("same"), tmp_path_factory.mktemp("same")
    settings = battery.config({"same": {"experts": 3}})
    settings["expert"]["dropout"] = 0.0
    states, kept = {}, {}
    for task in battery.TASKS:
        backbone = load_backbone(tiny_folder, battery.SETTINGS)
        job = battery.job_of(backbone, task, settings)
        model = method.prepare(backbone, job, states)
        kept["covariance"] = {
            name: (slot.gate.basis @ slot.gate.variances.diag() @ slot.gate.basis.T).numpy()
            for name, slot in model.slots.items()
        }
        batch = battery.batch_of(backbone, battery.rows_of(task)[:3])

        def run(learner, loss, rows, model=model, batch=batch):
            for slot in model.slots.values():
                for linear in slot.linears.values():
                    for matrix in linear.b:
                        matrix.data += 0.01
            kept["held"] = gradients(model, loss, batch)
            return []

        method.fit(model, job, Dataset.from_list(battery.rows_of(task)), run)
        kept["free"] = gradients(model, model.answer_loss, batch)
        method.save(model, job, out / task)
        states = {task: out / task}
    return model, kept


def gradients(model, loss, batch):
    model.train()
    model.zero_grad()
    loss(batch).backward()
    return {name: p.grad.numpy().copy() for name, p in model.trainable().items()}


def test_gradients_follow_the_rules_and_are_free_afterwards(both):
    """numpy: of A times the inverse of the first task's covariance, of B as it is."""
    model, kept = both
    assert kept["held"].keys() == kept["free"].keys()
    changed = set()
    for name, free in kept["free"].items():
        _, slot, *inner = name.split(".")  # gate.weight, or linears.q_proj.a.0
        part = inner[-2]
        held = kept["held"][name]
        if part == "a":
            inverse = np.linalg.inv(kept["covariance"][slot] + 0.9 * np.eye(free.shape[1]))
            np.testing.assert_allclose(held, free @ inverse, rtol=2e-3, atol=1e-6)
        elif part == "b":
            np.testing.assert_allclose(held, free, rtol=1e-5)
        else:
            gate = model.slots[slot].gate
            want = spectral(torch.tensor(free), gate.basis, gate.variances)
            np.testing.assert_allclose(held, want.numpy(), rtol=1e-4, atol=1e-7)
        if not np.allclose(held, free, rtol=1e-2):
            changed.add(part)
    assert "a" in changed and "b" not in changed


def test_sleeping_experts_answer_at_test_alone(both):
    model, _ = both
    sleepers = 0
    for slot in model.slots.values():
        gate, x = slot.gate, torch.randn(1, 4, slot.gate.weight.shape[1])
        asleep = gate.asleep
        assert not asleep.all()
        sleepers += int(asleep.sum())
        weights = gate.train()(x)
        assert (weights[..., asleep] == 0).all() and (weights[..., ~asleep] > 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 4))
        assert (gate.eval()(x) > 0).all()
        for linear in slot.linears.values():
            for matrices in (linear.a, linear.b):
                assert [not m.requires_grad for m in matrices] == asleep.tolist()
    assert sleepers


def test_a_slot_sees_each_token_once_and_no_padding(both):
    """Against one row at a time, through a hook of its own; rows differ in length."""
    model, _ = both
    rows = Dataset.from_list(battery.rows_of(PLACES)[:3])
    name, inputs = "llm_1_qkv", []
    layer = model.model.get_submodule(
        next(s for s in model.backbone.slots if s.key == ("llm", 1, "qkv")).linears[1]
    )
    handle = layer.register_forward_pre_hook(lambda m, args: inputs.append(args[0][0].numpy()))
    model.eval()
    for row in battery.rows_of(PLACES)[:3]:
        with torch.no_grad():
            model.model(**{**battery.batch_of(model.backbone, [row]), "labels": None})
    handle.remove()
    x = np.concatenate(inputs)
    scores = x @ model.slots[name].gate.weight.detach().numpy().T
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    got = look(model, rows, 3)[name]
    assert got.tokens == len(x)
    assert len({len(part) for part in inputs}) > 1
    np.testing.assert_allclose(got.squares.numpy(), x.T @ x, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got.use.numpy(), weights.sum(axis=0), rtol=1e-4)
    energy = (weights * (x**2).sum(axis=1, keepdims=True)).sum(axis=0)
    np.testing.assert_allclose(got.energy.numpy(), energy, rtol=1e-4)

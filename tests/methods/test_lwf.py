"""Learning without forgetting: the distillation term, and who teaches."""

import numpy as np
import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from stages.methods.lwf import distillation
from tests.helpers import battery


def by_hand(before, now, temperature):
    """``T^2 sum_v p_v (log p_v - log q_v)`` of every token, in numpy."""

    def softmax(logits):
        powers = np.exp(logits / temperature - (logits / temperature).max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    p, q = softmax(before), softmax(now)
    return temperature**2 * (p * np.log(p / q)).sum(-1)


def test_two_words_by_hand():
    """p = (1/2, 1/2), q = (3/4, 1/4): KL = 1/2 ln(2/3) + 1/2 ln 2 = 0.143841; times T^2 = 4.

    Logits are divided by T = 2, so the student's are 2 ln 3 apart.
    """
    got = distillation(torch.tensor([[1.0, 1.0]]), torch.tensor([[2 * np.log(3.0), 0.0]]), 2.0)
    assert got.item() == pytest.approx(4 * 0.143841, abs=1e-5)


def test_equal_logits_teach_nothing_and_the_teacher_is_the_reference():
    before, now = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert distillation(before, before, 2.0).abs().max() < 1e-6
    for temperature in (0.5, 2.0):
        got = distillation(before, now, temperature).numpy()
        want = by_hand(before.numpy(), now.numpy(), temperature)
        np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.fixture
def first(tiny_folder, tmp_path):
    """The finished job of the first task."""
    data = battery.write_data(tmp_path)
    return battery.train("lwf", "things", tiny_folder, data, tmp_path)


@pytest.fixture
def second(tiny_folder, first):
    """A second job before its first step, its student pushed away from the teacher."""
    method = methods.load("lwf")
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({"lwf": {"temperature": 3.0, "weight": 0.25}})
    job = battery.job_of(backbone, "places", settings)
    model = method.prepare(backbone, job, {"things": first.folder})
    model.model.eval()
    batch = battery.batch_of(backbone, battery.rows_of("places")[:4])
    assert method.loss(model, batch).item() == pytest.approx(0.75 * model.answer_loss(batch).item())
    torch.manual_seed(0)
    for parameter in model.trainable().values():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return method, model, batch


def answer_logits(model, batch):
    """All logits, cut to the positions before labelled tokens."""
    with torch.no_grad():
        logits = model(**batch).logits[:, :-1]
    wanted = batch["labels"][:, 1:] != -100
    return logits[wanted].numpy(), batch["labels"][:, 1:][wanted].numpy()


def test_loss_is_the_mixture_on_answer_tokens(first, second):
    """The teacher of the reference is the first job's own model, another object in memory."""
    method, model, batch = second
    with first.learner.using(["things"]) as teacher:
        before, _ = answer_logits(teacher.eval(), batch)
    now, targets = answer_logits(model.model, batch)
    shifted = now - now.max(-1, keepdims=True)
    log_q = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    losses = -log_q[np.arange(len(targets)), targets]
    want = 0.75 * losses.mean() + 0.25 * by_hand(before, now, 3.0).mean()
    assert method.loss(model, batch).item() == pytest.approx(want, rel=1e-4)
    # the loss is not just the first term
    assert abs(want - 0.75 * losses.mean()) > 1e-3 * want


def test_only_the_student_gets_gradients(second):
    method, model, batch = second
    method.loss(model, batch).backward()
    named = dict(model.model.named_parameters())
    assert all(named[key].grad is not None for key in named if ".places." in key)
    assert all(value.grad is None for key, value in named.items() if ".places." not in key)
    assert model.active == ["places"]


def test_the_losses_of_accumulated_batches_add_up(second):
    method, model, batch = second
    whole = method.loss(model, batch).item()
    tokens = (batch["labels"] != -100).sum()
    rows = battery.rows_of("places")
    parts = [
        battery.batch_of(model.backbone, rows[start : start + 2], n_answer_tokens=tokens)
        for start in (0, 2)
    ]
    assert sum(method.loss(model, part).item() for part in parts) == pytest.approx(whole, rel=1e-4)

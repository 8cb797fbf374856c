"""Elastic weight consolidation: Fisher and penalty by hand, and what they do to training."""

from types import SimpleNamespace

import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.methods import ewc
from stages.methods import registry as methods
from tests.helpers import battery


class TwoParameters(torch.nn.Module):
    """Logits of a token x are ``(w x, v x)``: one weight for each of two words."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(0.0))
        self.v = torch.nn.Parameter(torch.tensor(0.0))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, input_ids, logits_to_keep, **_):
        x = self.dropout(input_ids.float())[logits_to_keep]
        return SimpleNamespace(logits=torch.stack([self.w * x, self.v * x], dim=-1))


class Feeder:
    """Rows are ids and labels already."""

    def training_example(self, row):
        return row

    def collate(self, examples):
        assert len(examples) == 1
        return {key: torch.tensor([examples[0][key]]) for key in examples[0]} | {
            "attention_mask": torch.ones(1, len(examples[0]["labels"]), dtype=torch.long)
        }


def test_fisher_of_two_parameters_by_hand():
    """With w = v = 0 both words have probability 1/2, so d log p(y | x) / d w is x/2 if y is the
    first word and -x/2 if it is the second, and the same for v with the sign turned.

    Row 1: answers (first after x = 2, first after x = 4): gradient 1 + 2 = 3, squared 9.
    Row 2: answer (second after x = 2): -1, squared 1. Row 3: (first after 6, second after 2):
    3 - 1 = 2, squared 4. The mean is 14/3 for both weights.
    """
    model = TwoParameters()
    rows = [
        {"input_ids": [2, 4, 7], "labels": [-100, 0, 0]},
        {"input_ids": [2, 9], "labels": [-100, 1]},
        {"input_ids": [6, 2, 1], "labels": [-100, 0, 1]},
    ]
    backbone = SimpleNamespace(prompter=Feeder(), to_device=lambda batch: batch)
    learner = SimpleNamespace(model=model, backbone=backbone)
    got = ewc.fisher(learner, dict(model.named_parameters()), rows)
    assert {key: value.item() for key, value in got.items()} == pytest.approx(
        {"w": 14 / 3, "v": 14 / 3}
    )
    assert model.w.grad is None


def test_penalty_of_two_parameters_by_hand():
    """1/2 (3 (1.5 - 1)^2 + 0.5 (-1 - 3)^2) = 1/2 (0.75 + 8) = 4.375; its gradient is F d."""
    now = {
        "w": torch.tensor([1.5], requires_grad=True),
        "v": torch.tensor([-1.0], requires_grad=True),
    }
    anchor = {"w": torch.tensor([1.0]), "v": torch.tensor([3.0])}
    weights = {"w": torch.tensor([3.0]), "v": torch.tensor([0.5])}
    value = ewc.penalty(now, anchor, weights)
    value.backward()
    assert value.item() == pytest.approx(4.375)
    assert [now[key].grad.item() for key in ("w", "v")] == pytest.approx([1.5, -2.0])


@pytest.fixture(scope="module")
def streams(tiny_folder, tmp_path_factory):
    """Both jobs under several strengths; the first task is the same for all."""
    data = battery.write_data(tmp_path_factory.mktemp("data"))
    out = tmp_path_factory.mktemp("first")
    first = battery.train("ewc", "things", tiny_folder, data, out)
    seconds = {}
    for strength in (0.0, 10.0, 1e3):
        other = tmp_path_factory.mktemp("second")
        (other / "things").symlink_to(first.folder)
        settings = battery.config({"ewc": {"strength": strength}}, weight_decay=0.0)
        seconds[strength] = battery.train("ewc", "places", tiny_folder, data, other, settings)
    (other / "plain").mkdir()
    (other / "plain" / "things").symlink_to(first.folder)
    settings = battery.config(weight_decay=0.0)
    plain = battery.train("seq_ft", "places", tiny_folder, data, other / "plain", settings)
    return first, seconds, plain


def adapter(job):
    return {k.split(":")[1]: v for k, v in job.weights().items() if k.startswith("adapter")}


def fisher_of(job):
    return {k.split(":")[1]: v for k, v in job.weights().items() if k.startswith("fisher")}


def test_strength_zero_is_sequential_lora(streams):
    _, seconds, plain = streams
    got, want = adapter(seconds[0.0]), adapter(plain)
    assert all(torch.equal(got[key], want[key]) for key in want)


def test_what_earlier_tasks_need_moves_less_the_stronger(streams):
    """Distance in the Fisher's own measure: sum F d^2."""
    first, seconds, _ = streams
    start, weights = adapter(first), fisher_of(first)
    assert start.keys() == weights.keys()
    moved = []
    for strength in (0.0, 10.0, 1e3):
        end = adapter(seconds[strength])
        moved.append(sum(float((weights[k] * (end[k] - start[k]) ** 2).sum()) for k in start))
    assert moved[0] > 2 * moved[1]
    assert moved[1] > 1.1 * moved[2]


def test_importances_add_up_over_the_tasks(streams, tiny_folder):
    """The stored Fisher of task 2 less that of task 1 is task 2's own, by plain autograd."""
    first, seconds, _ = streams
    before, after = fisher_of(first), fisher_of(seconds[10.0])
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    model = methods.load("ewc").load(backbone, {"places": seconds[10.0].folder})
    model.activate(["places"], training="places")
    model.model.eval()
    squares = dict.fromkeys(model.trainable(), 0.0)
    rows = battery.rows_of("places")
    for row in rows:
        batch = battery.batch_of(backbone, [row])
        tokens = (batch["labels"] != -100).sum()
        log_likelihood = -tokens * model.model(**batch).loss
        found = torch.autograd.grad(log_likelihood, list(model.trainable().values()))
        for key, gradient in zip(squares, found, strict=True):
            squares[key] = squares[key] + gradient**2 / len(rows)
    for key, want in squares.items():
        stored = key.replace(".places.", ".")
        scale = float(want.max())
        torch.testing.assert_close(
            after[stored] - before[stored], want, atol=1e-3 * scale + 1e-9, rtol=1e-2
        )


def test_the_penalty_counts_once_in_a_step_of_several_batches(streams, tiny_folder):
    first, *_ = streams
    method = methods.load("ewc")
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({"ewc": {"strength": 10.0}})
    job = battery.job_of(backbone, "places", settings)
    model = method.prepare(backbone, job, {"things": first.folder})
    model.model.eval()
    start, weights = adapter(first), fisher_of(first)
    for parameter in model.trainable().values():
        parameter.data += 0.5
    rows = battery.rows_of("places")[:3]
    whole = battery.batch_of(backbone, rows)
    by_hand = 5 * sum(float((weights[key] * 0.5**2).sum()) for key in start)
    assert by_hand > 0.01
    want = model.answer_loss(whole).item() + by_hand
    assert method.loss(model, whole).item() == pytest.approx(want, rel=1e-4)
    tokens = (whole["labels"] != -100).sum()
    parts = [battery.batch_of(backbone, [row], n_answer_tokens=tokens) for row in rows]
    assert sum(method.loss(model, part).item() for part in parts) == pytest.approx(want, rel=1e-4)

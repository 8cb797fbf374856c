"""DISCO and HiDe-LLaVA: anchors, weights at test, and what is merged."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from stages.core.backbone.load import load_backbone
from stages.core.experts.mixtures import read_state
from stages.methods import registry as methods
from stages.methods.layers.halves import image_halves, text_halves
from tests.helpers import battery

FIRST, SECOND = battery.TASKS


def trained(name, tiny_folder, folder, value):
    """A state of both tasks; instead of training, a task's own matrices are set to ``value``
    and twice that."""
    method, states, halves = methods.load(name), {}, {}
    for number, task in enumerate(battery.TASKS, start=1):
        backbone = load_backbone(tiny_folder, battery.SETTINGS)
        job = battery.job_of(backbone, task)
        model = method.prepare(backbone, job, states)
        rows = battery.rows_of(task)

        def run(learner, loss, given, number=number, model=model, rows=rows, **changes):
            batch = battery.batch_of(model.backbone, rows[:2])
            loss(batch)
            shares = model.now.given
            assert shares.tolist() == [[0.0] * (number - 1) + [1.0]] * 2  # the own block alone
            for parameter in model.trainable().values():
                parameter.data.fill_(number * value)
            return []

        method.fit(model, job, Dataset.from_list(rows), run)
        batch = battery.batch_of(backbone, rows)
        halves[task] = [
            half.mean(dim=0).numpy()
            for half in (image_halves(model, batch, 1.0), text_halves(model, batch))
        ]
        method.save(model, job, folder / task)
        states = {task: folder / task}
    return method, states, halves


def cosines(row, anchors):
    return np.array([row @ a / np.linalg.norm(row) / np.linalg.norm(a) for a in anchors])


@pytest.mark.parametrize(("name", "temperature"), [("disco", 0.05), ("hide_llava", 0.1)])
def test_weights_follow_the_nearest_anchors(name, temperature, tiny_folder, tmp_path):
    """numpy: softmax of cosines to each task's mean half, of the text or of both."""
    method, states, halves = trained(name, tiny_folder, tmp_path, 0.01)
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    with method.load(backbone, states).using([SECOND]) as active:
        rows = battery.rows_of(FIRST)[:2] + battery.rows_of(SECOND)[:1]
        batch = battery.batch_of(backbone, rows)
        batch.pop("labels")
        with torch.no_grad():
            active(**batch)
    plain = load_backbone(tiny_folder, battery.SETTINGS)
    reference = method.prepare(plain, battery.job_of(plain, FIRST), {})
    image = image_halves(reference, batch, 1.0).numpy()
    text = text_halves(reference, batch).numpy()
    by_image = [cosines(row, [halves[t][0] for t in battery.TASKS]) for row in image]
    by_text = [cosines(row, [halves[t][1] for t in battery.TASKS]) for row in text]
    near = np.array(by_text) if name == "disco" else (np.array(by_image) + by_text) / 2
    powers = np.exp(near / temperature)
    want = powers / powers.sum(axis=1, keepdims=True)
    gates = [m for m in backbone.model.modules() if type(m).__name__ == "SampleGate"]
    np.testing.assert_allclose(gates[0].now.given.numpy(), want, rtol=1e-3)
    assert want[0, 0] > 0.5 > want[2, 0]


def test_below_the_top_loras_are_merged_factor_by_factor(tiny_folder, tmp_path):
    """Two tasks with A = B = v and 2 v: merged 3 v; in the top block they stay v and 2 v."""
    _, states, _ = trained("hide_llava", tiny_folder, tmp_path, 0.01)
    notes, tensors = read_state(states[SECOND])
    top = {name for name, ranks in notes["ranks"].items() if len(ranks) == 2}
    assert top == {"llm_1_qkv", "llm_1_o"}
    for key, tensor in tensors.items():
        if not key.startswith("slots."):
            continue
        number = int(key.rsplit(".", 1)[1])
        want = (number + 1) * 0.01 if key.split(".")[1] in top else 0.03
        torch.testing.assert_close(tensor, torch.full_like(tensor, want))


def test_a_merged_slot_adds_the_product_of_the_sums(tiny_folder, tmp_path):
    method, states, _ = trained("hide_llava", tiny_folder, tmp_path, 0.01)
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    with method.load(backbone, states).using([SECOND]) as active:
        layer = next(
            m for n, m in active.named_modules() if n.endswith("layers.0.self_attn.o_proj")
        )
        x = torch.randn(1, 3, layer.base_layer.in_features)
        layer.gate.now.prompt = True
        got = layer(x) - layer.base_layer(x)
    rank = layer.low_rank.a[0].shape[0]
    want = 2 * rank * 0.03 * 0.03 * x.sum(-1, keepdim=True)  # alpha / r = 2
    torch.testing.assert_close(got, want.expand_as(got), rtol=1e-4, atol=1e-6)

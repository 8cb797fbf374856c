"""ProgLoRA, static: the allocation row, fixed by the tasks' prompts and reused at test."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.core.experts.mixtures import read_state
from stages.methods import registry as methods
from stages.methods.layers.pools import Prototypes
from tests.helpers import battery

FIRST, SECOND = battery.TASKS[:2]
NAME = "prog_lora_static"
OPTIONS = {NAME: {"temperature": 0.3}}


@pytest.fixture(scope="module")
def stream(tiny_folder, tmp_path_factory):
    """Both jobs of the tiny stream."""
    out = tmp_path_factory.mktemp(NAME)
    data, settings = battery.write_data(out), battery.config(OPTIONS)
    return {t: battery.train(NAME, t, tiny_folder, data, out, settings) for t in (FIRST, SECOND)}


def notes(trained):
    return json.loads((trained.folder / "mixture.json").read_text())


def tensors(trained):
    return {key.split(":")[1]: value.numpy() for key, value in trained.weights().items()}


def test_a_row_by_hand():
    """cos(p_3, .) = 0.6, 0, 1; tau = 0.5: softmax of 1.2, 0, 2."""
    prototypes = Prototypes(3, width=2)
    for vector, value in zip(prototypes.vectors, ([3, 0], [-0.8, 0.6], [3, 4]), strict=True):
        vector.copy_(torch.tensor(value))
    powers = np.exp([1.2, 0.0, 2.0])
    np.testing.assert_allclose(prototypes.row(0.5), powers / powers.sum(), rtol=1e-6)


def test_the_row_of_a_task_follows_from_its_prompts(stream):
    """Mean embedding of the prompt's tokens that are no image, mean over the task's rows."""
    backbone = stream[SECOND].backbone
    table = backbone.model.get_input_embeddings().weight.detach().numpy()
    image = backbone.model.config.image_token_id
    means = []
    for task in (FIRST, SECOND):
        ids = [backbone.prompter.generation_example(r)["input_ids"] for r in battery.rows_of(task)]
        means.append(np.mean([table[[i for i in one if i != image]].mean(0) for one in ids], 0))
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    own = 1 / (1 + np.exp((cosine - 1) / 0.3))
    assert notes(stream[FIRST])["allocation"] == [1.0]
    np.testing.assert_allclose(notes(stream[SECOND])["allocation"], [1 - own, own], rtol=1e-4)
    for number in (0, 1):
        stored = tensors(stream[SECOND])[f"extra.vectors.{number}"]
        np.testing.assert_allclose(stored, means[number], rtol=1e-4, atol=1e-7)


def test_the_stored_row_answers_every_sample(stream, tiny_folder, tmp_path):
    """Reference: a backbone with W + s sum_k row_k B_k A_k; the row is edited in a copy of the
    state, so that it cannot have been computed again."""
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    copied = Path(shutil.copytree(stream[SECOND].folder, tmp_path / "edited"))
    described, state = read_state(copied)
    row = [0.9, 0.4]
    (copied / "mixture.json").write_text(json.dumps(described | {"allocation": row}))
    saved = methods.load(NAME).load(backbone, {SECOND: copied})
    samples = battery.rows_of(FIRST)[:2] + battery.rows_of(SECOND)[:2]
    batch = battery.batch_of(backbone, samples)
    with saved.using([SECOND]) as model, torch.no_grad():
        got = model(**batch).logits
    alone = load_backbone(tiny_folder, battery.SETTINGS)
    for slot in alone.slots:
        for linear in slot.linears:
            stem = f"slots.{'_'.join(map(str, slot.key))}.linears.{linear.split('.')[-1]}"
            for share, k in zip(row, (0, 1), strict=True):
                delta = 2 * share * state[f"{stem}.b.{k}"] @ state[f"{stem}.a.{k}"]
                alone.model.get_submodule(linear).weight.data += delta
    with torch.no_grad():
        want = alone.model(**batch).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(got[real], want[real], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        plain = load_backbone(tiny_folder, battery.SETTINGS).model(**batch).logits
    assert not torch.allclose(plain[real], want[real], atol=1e-2)


def test_only_the_new_block_learns(stream):
    for number, task in enumerate((FIRST, SECOND)):
        (phase,) = stream[task].phases
        assert len(phase.trainable) == 2 * 2 * 2 * 4  # a and b of q, k, v, o; two towers
        assert {key.rsplit(".", 1)[1] for key in phase.trainable} == {str(number)}
    before, after = tensors(stream[FIRST]), tensors(stream[SECOND])
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert len(after) == 2 * len(before)


def test_a_finished_task_keeps_its_own_state():
    method, tasks = methods.load(NAME), ["a", "b", "c"]
    cells = [[method.active(step, task, tasks) for task in tasks] for step in range(4)]
    assert cells == [
        [[], [], []],
        [["a"], ["a"], ["a"]],
        [["a"], ["b"], ["b"]],
        [["a"], ["b"], ["c"]],
    ]
    assert method.starts_from("c", tasks, None) == ["b"]

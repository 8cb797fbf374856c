"""O-LoRA: the overlap term, the sum of all experts, and what stays frozen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from tests.helpers import battery


@pytest.fixture(scope="module")
def first(tiny_folder, tmp_path_factory):
    """The finished job of the first task."""
    out = tmp_path_factory.mktemp("first")
    return battery.train("o_lora", "things", tiny_folder, battery.write_data(out), out)


@pytest.fixture
def second(tiny_folder, first):
    """The second job before its first step."""
    method = methods.load("o_lora")
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({"o_lora": {"orthogonality": 0.3}})
    job = battery.job_of(backbone, "places", settings)
    model = method.prepare(backbone, replace(job, seed=1), {"things": first.folder})
    model.model.eval()
    return method, model


def test_a_pair_by_hand(second):
    """A_t = [[1, 2], [0, -1]], A_k = [[3, -1], [1, 1]]: A_t A_k^T = [[1, 3], [1, -1]], sum 6."""
    method, model = second
    new = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    method.pairs = [(new, torch.tensor([[3.0, -1.0], [1.0, 1.0]]))]
    batch = battery.batch_of(model.backbone, battery.rows_of("places")[:2])
    extra = method.loss(model, batch) - model.answer_loss(batch)
    assert extra.item() == pytest.approx(0.3 * 6, abs=1e-4)


def test_overlap_over_all_linears_and_earlier_tasks(tiny_folder, first, second, tmp_path):
    """Reference: the files' matrices in numpy; the second earlier task is a copy, turned round."""
    method, model = second
    old = load_file(first.folder / "adapter_model.safetensors")
    new = {k.replace(".places.", "."): p.detach() for k, p in model.trainable().items()}
    keys = [key for key in old if "lora_A" in key]
    assert len(keys) == 2 * 4 + 2 * 4  # q, k, v, o of two blocks in each tower
    want = sum(np.abs(new[key].numpy() @ old[key].numpy().T).sum() for key in keys)
    batch = battery.batch_of(model.backbone, battery.rows_of("places")[:2])
    extra = (method.loss(model, batch) - model.answer_loss(batch)).item()
    assert extra == pytest.approx(0.3 * want, rel=1e-3)
    # stacked: a task whose A is the same again doubles the term
    method.pairs = [(mine, torch.cat([theirs, -theirs])) for mine, theirs in method.pairs]
    twice = (method.loss(model, batch) - model.answer_loss(batch)).item()
    assert twice == pytest.approx(0.6 * want, rel=1e-3)


def test_the_term_counts_once_in_a_step_of_several_batches(second):
    method, model = second
    rows = battery.rows_of("places")[:3]
    whole = battery.batch_of(model.backbone, rows)
    tokens = (whole["labels"] != -100).sum()
    parts = [battery.batch_of(model.backbone, [row], n_answer_tokens=tokens) for row in rows]
    summed = sum(method.loss(model, part).item() for part in parts)
    assert summed == pytest.approx(method.loss(model, whole).item(), rel=1e-4)


def test_the_first_task_has_no_term(tiny):
    method = methods.load("o_lora")
    model = method.prepare(tiny, battery.job_of(tiny, "things"), {})
    model.model.eval()
    batch = battery.batch_of(tiny, battery.rows_of("things")[:2])
    assert method.loss(model, batch).item() == model.answer_loss(batch).item()


def test_training_makes_the_new_expert_more_orthogonal(tiny_folder, first, tmp_path):
    old = load_file(first.folder / "adapter_model.safetensors")
    (tmp_path / "things").symlink_to(first.folder)
    data = battery.write_data(tmp_path)
    overlaps = {}
    for weight in (0.0, 0.5):
        settings = battery.config({"o_lora": {"orthogonality": weight}}, learning_rate=1e-3)
        job = battery.train("o_lora", "places", tiny_folder, data, tmp_path, settings)
        new = load_file(job.folder / "adapter_model.safetensors")
        overlaps[weight] = sum(float((new[k] @ old[k].T).abs().sum()) for k in old if "lora_A" in k)
    assert overlaps[0.5] < 0.97 * overlaps[0.0]


def test_all_experts_so_far_answer():
    method, tasks = methods.load("o_lora"), ["a", "b", "c"]
    assert [method.active(step, "a", tasks) for step in range(4)] == [
        [],
        ["a"],
        ["a", "b"],
        ["a", "b", "c"],
    ]
    assert method.starts_from("c", tasks, None) == ["a", "b"]

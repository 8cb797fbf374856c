"""SEFE: which elements are key, and the penalty on them."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from stages.core.backbone.load import load_backbone
from stages.methods import registry as methods
from tests.helpers import battery


@pytest.fixture(scope="module")
def first(tiny_folder, tmp_path_factory):
    """The finished job of the first task."""
    out = tmp_path_factory.mktemp("sefe")
    return battery.train("sefe", "things", tiny_folder, battery.write_data(out), out)


@pytest.fixture
def second(tiny_folder, first):
    """The second job before its first step, with a B that is not zero."""
    method, backbone = methods.load("sefe"), load_backbone(tiny_folder, battery.SETTINGS)
    settings = battery.config({"sefe": {"regularity": 7.0, "key_share": 0.1}})
    job = replace(battery.job_of(backbone, "places", settings), seed=1)
    model = method.prepare(backbone, job, {"things": first.folder})
    for number, (name, parameter) in enumerate(model.trainable().items()):
        if "lora_B" in name:
            parameter.data = parameter.data + 0.01 * (number % 5 - 2)
    model.model.eval()
    return method, model


def test_the_penalty_over_all_linears_by_hand(first, second):
    """numpy: mean |B A| of the new LoRA where the old one's |B A| is among its largest tenth."""
    method, model = second
    old = load_file(first.folder / "adapter_model.safetensors")
    new = {k.replace(".places.", "."): p.detach().numpy() for k, p in model.trainable().items()}
    means = []
    for key in [key for key in old if "lora_A" in key]:
        other = key.replace("lora_A", "lora_B")
        size = np.abs(old[other].numpy() @ old[key].numpy()).ravel()
        chosen = np.argsort(size)[::-1][: int(0.1 * len(size))]
        means.append(np.abs((new[other] @ new[key]).ravel()[chosen]).mean())
    batch = battery.batch_of(model.backbone, battery.rows_of("places")[:2])
    extra = (method.loss(model, batch) - model.answer_loss(batch)).item()
    assert len(means) == 16 and np.mean(means) > 1e-4
    assert extra == pytest.approx(7 * np.mean(means), rel=1e-3)


def test_the_first_task_is_free_and_all_tasks_answer(tiny_folder):
    method, backbone = methods.load("sefe"), load_backbone(tiny_folder, battery.SETTINGS)
    model = method.prepare(backbone, battery.job_of(backbone, "things"), {})
    batch = battery.batch_of(backbone, battery.rows_of("things")[:2])
    model.model.eval()
    assert method.loss(model, batch).item() == model.answer_loss(batch).item()
    assert method.active(2, "things", ["things", "places", "more"]) == ["things", "places"]

"""Two processes give what one gives; one that dies takes the job with it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts
from stages.core.experts.lora import ExpertModel
from tests.helpers import gpu_stages


def launch(count: int, module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a module in so many processes, as the rules do."""
    return python("stages.core.base.launch", count, module, *arguments)


def python(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a module; its processes have one thread each."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1800,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


@pytest.fixture(scope="module")
def given(tiny_folder, tmp_path_factory):
    """The inputs of ``gpu_stages``, with an expert that changes answers and routes to it."""
    folder = tmp_path_factory.mktemp("given")
    rows = gpu_stages.give(folder, tiny_folder)
    routes = [
        {"sample_id": row["sample_id"], "step": stage, "experts": ["b"][: stage * (i % 2)]}
        for i, row in enumerate(rows)
        for stage in (0, 1)
    ]
    unrouted = {"best_task": None, "ratio": None, "n_under": None}
    artifacts.write_table(
        "routes", folder / "routes.parquet", [route | unrouted for route in routes]
    )
    backbone = load_backbone(tiny_folder, gpu_stages.CONFIG["backbone"])
    model = ExpertModel(backbone)
    ranks = {slot.key: 4 for slot in backbone.slots}
    model.add("b", ranks, scale=2.0, dropout=0.0, seed=0)
    model.activate(["b"], training="b")
    for parameter in model.trainable().values():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save("b", folder / "states" / "b")
    return folder


@pytest.fixture(scope="module")
def outputs(given, tmp_path_factory):
    """What one process made, and what two made."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for count, out in ((1, one), (2, two)):
        done = launch(count, "tests.helpers.gpu_stages", given, out)
        assert done.returncode == 0, done.stdout + done.stderr
    return one, two


CLOSE = 5e-6  # of the distance that B has come


def column(name, path, key):
    return artifacts.read_table(name, path)[key].to_pylist()


def test_gradient_norms(outputs):
    for key in ("score", "standard_error", "mean_loss"):
        one, two = (column("profile", folder / "profile.parquet", key) for folder in outputs)
        np.testing.assert_allclose(two, one, rtol=1e-5)
    slots = [column("profile", folder / "profile.parquet", "slot") for folder in outputs]
    assert slots[0] == slots[1]


def test_features_and_with_them_routes(outputs):
    """Equal to the last bit: each process computes whole batches of the same rows."""
    one, two = (artifacts.read_table("features", f / "features.parquet") for f in outputs)
    assert one.equals(two)
    assert one.num_rows == 10


def test_answers(outputs):
    for name in ("backbone_predictions.parquet", "predictions.parquet"):
        one, two = (artifacts.read_table("predictions", folder / name) for folder in outputs)
        assert one.equals(two)
    assert len(set(one["text"].to_pylist())) > 5


@pytest.fixture(scope="module")
def trained(given, outputs, tmp_path_factory):
    """Where one, two and four processes have trained."""
    four = tmp_path_factory.mktemp("four")
    done = python("tests.helpers.forked", 4, "train", given, four)
    assert done.returncode == 0, done.stdout + done.stderr
    return [*outputs, four]


def test_training_at_the_same_batch_size(trained):
    """Equal but for the order in which the gradients of a step's samples are added."""
    weights, records = [], []
    for folder in trained:
        weights.append(load_file(folder / "experts/b/adapter_model.safetensors"))
        records.append(json.loads((folder / "experts/b/training.json").read_text()))
    one, *others = weights
    losses = [[loss for _, loss in record["loss"]] for record in records]
    assert len(losses[0]) == 10
    for other, found in zip(others, losses[1:], strict=True):
        assert one.keys() == other.keys()
        # B starts at zero, so its size is how far it has come
        for key in (key for key in one if "lora_B" in key):
            assert float((one[key] - other[key]).norm()) < CLOSE * float(one[key].norm())
        np.testing.assert_allclose(found, losses[0], rtol=1e-4)
    assert not any((folder / "checkpoints").exists() for folder in trained)


STOPPED = [
    (1, "last", "SIGTERM", "train"),
    (2, "last", "SIGUSR1", "train_sharded"),
    (2, "launcher", "SIGTERM", "train"),
]


@pytest.mark.parametrize(("count", "who", "name", "work"), STOPPED)
def test_a_training_that_is_told_to_stop_saves_and_goes_on(
    count, who, name, work, given, outputs, tmp_path
):
    """In the thirteenth step, before the first checkpoint and between two losses of the log. The
    processes that divide the language model make the same expert as those that do not."""
    call = ["tests.helpers.told_to_stop", work]
    done = launch(count, *call, who, name, given, tmp_path)
    assert done.returncode == 85, done.stdout + done.stderr
    assert "stopped: task b: the checkpoint of step 13 is saved" in done.stderr
    assert not (tmp_path / "experts" / "b").exists()
    done = launch(count, *call, "nobody", name, given, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "going on from" in done.stdout
    whole, resumed = (
        {file.name: file.read_bytes() for file in (folder / "experts/b").iterdir()}
        for folder in (outputs[count - 1], tmp_path)
    )
    if work == "train_sharded":  # it names the key
        assert whole.pop("provenance.json") != resumed.pop("provenance.json")
    assert resumed == whole


def test_a_prediction_that_is_told_to_stop_keeps_its_answers(given, outputs, tmp_path):
    """One of two processes is told in its second batch; one process answers the rest."""
    call = ["tests.helpers.told_to_stop", "answer"]
    done = launch(2, *call, "last", "SIGTERM", given, tmp_path)
    assert done.returncode == 85, done.stdout + done.stderr
    parts = list((tmp_path / ".backbone_predictions.parquet.parts").iterdir())
    assert sum(artifacts.read_table("predictions", part).num_rows for part in parts) >= 4
    assert launch(1, *call, "nobody", "SIGTERM", given, tmp_path).returncode == 0
    whole, resumed = (f / "backbone_predictions.parquet" for f in (outputs[0], tmp_path))
    assert resumed.read_bytes() == whole.read_bytes()


def test_one_process_that_dies_fails_the_job_with_its_own_error():
    done = launch(2, "tests.helpers.dying_worker")
    assert done.returncode != 0
    assert "error: row s7 of this process is bad." in done.stderr
    assert done.stderr.endswith("error: process 1 of this job failed; what it said is above.\n")


def test_one_process_that_is_killed_ends_the_job(given, tmp_path):
    """In the middle of a training, whose other process waits for its gradients."""
    call = ["tests.helpers.told_to_stop", "train", "last", "SIGKILL", given, tmp_path]
    done = launch(2, *call)
    assert done.returncode == 1
    killed = "error: process 1 of this job was killed by SIGKILL, as when memory runs out.\n"
    assert done.stderr.endswith(killed)
    assert not (tmp_path / "experts" / "b").exists()

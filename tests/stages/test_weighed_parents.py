"""``transfer.accept: lower_loss``: a parent counts only where its expert lowers the loss."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from stages import route_samples, train_expert
from stages.core.base import artifacts, cli
from stages.core.dmole.gradients import profile_gradients
from stages.core.experts.weighing import weigh
from stages.core.model.source import RunSource
from stages.core.report import tree
from stages.core.runs.results import Results, Scope
from stages.core.runs.run_sheet import RunSheet
from tests.helpers.decisions import allocation, transfer
from tests.helpers.known_routers import write_constant_router
from tests.stages.test_train_expert import TASK, run, used

PARENT, CHILD = "tiny_caption", "tiny_choice"
SLOTS = [
    {"tower": "llm", "block": 1, "slot": "o", "score": 1.0, "order": 1, "allocated": True}
    | {"trainable_parameters": 0}
]
BESIDE = {"task": PARENT, "accepted": True, "losses": {"backbone": 2.0, "beside": 1.0}}


@pytest.fixture
def files(tmp_path, rows):
    """Training rows and subset of the child, its allocation, and the choice of a parent."""
    task = TASK | {"name": CHILD}
    artifacts.write_table("data", tmp_path / "train.parquet", rows, task=task, provenance={})
    for name, content in (
        ("allocation", allocation(CHILD, *SLOTS)),
        ("transfer", transfer(CHILD, PARENT)),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def helpful(tiny_folder, files):
    """An expert of the parent that was trained on the child's rows."""
    folder = files / "helpful" / PARENT
    run(tiny_folder, files / "train.parquet", folder, keys=[("llm", 1, "o")], epochs=8)
    return folder


@pytest.fixture
def harmful(helpful, files):
    """The same with its update turned round."""
    folder = Path(shutil.copytree(helpful, files / "harmful" / PARENT))
    weights = load_file(folder / "adapter_model.safetensors")
    turned = {key: -value if "lora_B" in key else value for key, value in weights.items()}
    save_file(turned, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def train(files: Path, backbone: Path, name: str, parent: Path | None, **transfers) -> dict:
    """Train the child by the command line; its ``training.json``."""
    config = used(epochs=1) | {"transfer": {"learning_rate_factor": 1.0} | transfers}
    argv = ["--method", "dmole", "--task", CHILD, "--tasks", PARENT, CHILD, "--seed", "0"]
    argv += ["--data", str(files / "train.parquet"), "--backbone", str(backbone)]
    argv += ["--allocation", str(files / "allocation.json"), "--out", str(files / name)]
    argv += ["--config", json.dumps(config), "--checkpoints", str(files / "checkpoints")]
    if parent:
        argv += ["--transfer", str(files / "transfer.json"), "--states", str(parent)]
        if transfers["accept"] == "lower_loss":
            argv += ["--subset", str(files / "train.parquet")]
    train_expert.main(argv)
    return json.loads((files / name / "training.json").read_text())


def weights(files: Path, name: str) -> bytes:
    return (files / name / "adapter_model.safetensors").read_bytes()


def test_losses_are_those_of_backbone_and_expert(tiny, rows, helpful, harmful):
    profiled = profile_gradients(tiny, rows, loss="sample_mean", include_bias=False, batch_size=10)
    before = set(tiny.model.state_dict())
    good = weigh(tiny, rows, PARENT, helpful, batch_size=3)
    bad = weigh(tiny, rows, PARENT, harmful, batch_size=3)
    assert set(tiny.model.state_dict()) == before
    assert (good["accepted"], bad["accepted"]) == (True, False)
    for found in (good, bad):
        assert found["losses"]["backbone"] == pytest.approx(profiled[0]["mean_loss"], rel=1e-5)
    assert good["losses"]["beside"] < good["losses"]["backbone"] < bad["losses"]["beside"]


def test_a_parent_that_does_not_help_is_as_none(tiny_folder, files, helpful, harmful):
    assert "parent" not in train(files, tiny_folder, "alone", None)
    always = train(files, tiny_folder, "always", helpful, accept="always")
    left_out = train(files, tiny_folder, "left_out", harmful, accept="lower_loss")
    taken = train(files, tiny_folder, "taken", helpful, accept="lower_loss")
    assert "parent" not in always
    assert (left_out["parent"]["task"], left_out["parent"]["accepted"]) == (PARENT, False)
    assert (taken["parent"]["task"], taken["parent"]["accepted"]) == (PARENT, True)
    assert weights(files, "left_out") == weights(files, "alone")
    assert weights(files, "taken") == weights(files, "always") != weights(files, "alone")


def test_a_lower_rate_beside_a_parent(tiny_folder, files, helpful):
    """A rate of nothing leaves B at its zeros; without a parent the factor says nothing."""
    train(files, tiny_folder, "alone", None)
    train(files, tiny_folder, "still", helpful, accept="always", learning_rate_factor=1e-30)
    still = load_file(files / "still" / "adapter_model.safetensors")
    assert all(abs(value).max() < 1e-20 for key, value in still.items() if "lora_B" in key)


def test_without_rows_to_weigh_on(tiny, files):
    argv = train_expert._parse(
        ["--method", "dmole", "--task", CHILD, "--tasks", PARENT, CHILD, "--seed", "0"]
        + ["--data", "d", "--backbone", "b", "--checkpoints", "c", "--out", "o"]
        + ["--transfer", str(files / "transfer.json"), "--config", "{}"]
    )
    with pytest.raises(train_expert.InputError, match="name the task's subset with --subset"):
        train_expert._weigh(argv, tiny, {PARENT: files}, {"transfer": {"accept": "lower_loss"}})


def trained(folder: Path, task: str, parent: dict | None) -> Path:
    content = {"task": task, "rows": 1, "trainable_parameters": 1}
    (folder / task).mkdir()
    content |= {"parent": parent} if parent else {}
    artifacts.write_json("training", folder / task / "training.json", content)
    return folder / task


def test_routes_ask_the_training_for_the_parent(tmp_path):
    """Both samples are the second task's and the third's; the third was left alone."""
    tasks = ["a", "b", "c"]
    table = [{"sample_id": "x", "z": [0.0, 1.0]}, {"sample_id": "y", "z": [1.0, 1.0]}]
    artifacts.write_table("features", tmp_path / "f.parquet", table, task="b", provenance={})
    blank = dict.fromkeys(artifacts.DATA.names)
    data = [blank | {"sample_id": name} for name in "xy"]
    artifacts.write_table("data", tmp_path / "d.parquet", data, task={"name": "b"})
    for task, bias in zip(tasks, ([9.0, 9.0], [0.0, 1.0], [1.0, 1.0]), strict=True):
        write_constant_router(tmp_path, task, bias)
    parents = {"b": BESIDE | {"task": "a"}, "c": BESIDE | {"task": "a", "accepted": False}}
    argv = ["--method", "dmole", "--task", "b", "--tasks", *tasks, "--data"]
    argv += [str(tmp_path / "d.parquet"), "--features", str(tmp_path / "f.parquet"), "--routers"]
    argv += [*(str(tmp_path / f"{task}.safetensors") for task in tasks), "--thresholds"]
    argv += [*(str(tmp_path / f"{task}.json") for task in tasks), "--experts"]
    argv += [str(trained(tmp_path, task, parents.get(task))) for task in tasks]
    routing = {"routing": {"second": "parent", "threshold_scale": 1.0}}
    argv += ["--config", json.dumps(routing), "--out", str(tmp_path / "out.parquet")]
    cli.run(route_samples.main, argv)
    found = artifacts.read_table("routes", tmp_path / "out.parquet").to_pylist()
    last = {row["sample_id"]: row["experts"] for row in found if row["step"] == 3}
    assert last == {"x": ["b", "a"], "y": ["c"]}


def test_a_finished_model_asks_the_training(small_run, tmp_path):
    """Of a run that weighs parents, whatever the choice says."""
    root = Path(shutil.copytree(small_run, tmp_path / "run"))
    sheet = json.loads((root / "runs.json").read_text())
    sheet["config"]["transfer"]["accept"] = "lower_loss"
    (root / "runs.json").write_text(json.dumps(sheet))
    for accepted in (True, False):
        path = root / f"seed0/dmole/experts/{CHILD}/training.json"
        content = json.loads(path.read_text()) | {"parent": BESIDE | {"accepted": accepted}}
        path.write_text(json.dumps(content))
        read = RunSheet(root / "runs.json")
        parent = RunSource(read, read.run("dmole", 0)).parent(CHILD)
        assert parent == (PARENT if accepted else None)


def test_the_report_says_what_was_weighed():
    chosen = {CHILD: transfer(CHILD, PARENT)}
    trainings = {PARENT: {}, CHILD: {"parent": BESIDE | {"accepted": False}}}
    results = Results(
        {}, [PARENT, CHILD], [], {},
        transfers={Scope(0): {PARENT: transfer(PARENT, None)} | chosen},
        trainings={Scope(0, "careful"): trainings},
    )  # fmt: skip
    table = tree.section(results).blocks[-1]
    assert table.rows == [["seed 0, careful", CHILD, PARENT, "no", "2.000", "1.000"]]

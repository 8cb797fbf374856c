"""training.report_to: decides nothing, needs its package, and keeps its run when a job goes on."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages import train_expert
from stages.core.backbone.load import load_backbone
from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.runs.checks import check_runs
from stages.core.runs.run_sheet import settings_of
from stages.core.runs.runs import Runs
from stages.core.training import tracking
from stages.core.training import trainer as training
from stages.core.training.tracking import TRACKERS, Tracking
from stages.methods import registry as methods
from tests.helpers import battery

TINY = {
    "stream": "tiny",
    "tasks": ["tiny_caption"],
    "manifests": "tests/data/tiny",
    "methods": ["dmole"],
    "backbone": {"path": "results/backbones/tiny"},
}


def runs(**more) -> Runs:
    return Runs(complete(TINY | more, "test"))


def test_no_stage_and_no_run_sheet_sees_the_key() -> None:
    plain, told = runs(), runs(training={"report_to": "wandb"})
    assert told.config["training"]["report_to"] == "wandb"
    for stage in ("train_expert", "predict"):
        want = plain.slice_of(stage, "dmole", "tiny_caption")
        assert told.slice_of(stage, "dmole", "tiny_caption") == want
    assert "learning_rate" in plain.slice_of("train_expert", "dmole", "tiny_caption")["training"]
    assert settings_of(told.config) == settings_of(plain.config)
    assert "report_to" not in json.dumps(settings_of(told.config))


def test_a_missing_package_ends_the_run_before_its_first_job(monkeypatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    check_runs(runs())
    with pytest.raises(InputError, match=r"package mlflow is not installed: pip install .* mlflow"):
        check_runs(runs(training={"report_to": "mlflow"}))


def test_a_variant_cannot_report_elsewhere() -> None:
    variants = {"v": {"method": "dmole", "set": {"training.report_to": "wandb"}}}
    with pytest.raises(InputError, match=r"unknown key 'training.report_to'"):
        check_runs(runs(variants=variants, methods=["v"]))


def train(tiny_folder, data, out: Path, reporting: Tracking | None) -> bytes:
    backbone = load_backbone(tiny_folder, battery.SETTINGS)
    job = battery.job_of(backbone, "things", battery.config())
    train_expert.train_expert(
        methods.load("seq_ft"), backbone, {"things": data["things"]}, {}, job,
        checkpoints=out.with_name("checkpoints"), fingerprint={}, out=out, tracking=reporting,
    )  # fmt: skip
    return (out / "adapter_model.safetensors").read_bytes()


def tensorboard_steps(folder: Path) -> list[tuple[str, list[int]]]:
    """Of each run below a folder, its name and the steps with a loss."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    found = EventMultiplexer().AddRunsFromDirectory(str(folder))
    found.Reload()
    return [(r, [e.step for e in found.Scalars(r, "train/loss")]) for r in sorted(found.Runs())]


def mlflow_steps(uri: str) -> dict[str, list[int]]:
    """The steps with a loss, by run."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == tracking.PROJECT)
    found = [run.info.run_id for run in client.search_runs([experiment.experiment_id])]
    history = {run: client.get_metric_history(run, "loss") for run in found}
    return {run: sorted({metric.step for metric in steps}) for run, steps in history.items()}


def wandb_runs(folder: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[2] for path in folder.glob("wandb/offline-run-*"))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_training_that_goes_on_goes_on_in_its_run(
    name: str, tiny_folder, tmp_path, monkeypatch
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    for key in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    data = battery.write_data(tmp_path)
    plain = train(tiny_folder, data, tmp_path / "plain/seed0/seq_ft/experts/things", None)
    out = tmp_path / "told/seed0/seq_ft/experts/things"
    reporting = Tracking.of(name, out)
    save, died = training.ExpertTrainer._save_checkpoint, []

    def dies(self, *args):
        save(self, *args)
        if not died:
            died.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(training.ExpertTrainer, "_save_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_folder, data, out, reporting)
    reporting.end()
    run = (out.with_name("checkpoints") / "phase0/run_id").read_text()
    assert train(tiny_folder, data, out, reporting) == plain
    assert (out.with_name("checkpoints") / "phase0/run_id").read_text() == run
    folder = tmp_path / "told/seed0/seq_ft/tracking/things"
    assert reporting.folder == folder
    if name == "tensorboard":
        assert [one for one, _ in tensorboard_steps(folder)] == [run[:8]]
        ((_, steps),) = tensorboard_steps(folder)
        assert max(steps) == 6 and len(steps) == len(set(steps))
    if name == "wandb":
        assert set(wandb_runs(folder)) == {run}
    if name == "mlflow":
        assert mlflow_steps(f"sqlite:///{folder / 'mlflow.db'}") == {run: [*range(1, 7)]}

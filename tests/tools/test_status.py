"""What `cmit status` says of a run that was laid out by hand."""

import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
import yaml

from stages.core.base import cli
from stages.core.training.progress import write_progress
from stages.tools import status
from tests.helpers.fake_slurm import FakeSlurm

ROOT = "results/tiny"
EXPERTS = f"{ROOT}/seed0/seq_ft/experts"
CONFIG = {
    "stream": "tiny",
    "manifests": "tests/data/tiny",
    "tasks": ["tiny_caption", "tiny_choice", "tiny_ground"],
    "methods": ["seq_ft", "zero_shot"],
    "backbone": {"path": "results/backbones/none"},
}


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("content\n")


def mark(folder: Path, output: str, job: str | None) -> None:
    """What Snakemake notes of a file when it submits its job."""
    note = folder / ".snakemake/incomplete" / urlsafe_b64encode(output.encode()).decode()
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"external_jobid": job}))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run of which some jobs are done: 6 of prepare_data, 1 training."""
    for task in CONFIG["tasks"]:
        touch(tmp_path, *(f"{ROOT}/data/{task}/{split}.parquet" for split in ("train", "test")))
    touch(tmp_path, f"{EXPERTS}/tiny_caption/adapter_model.safetensors")
    benchmark = f"{ROOT}/benchmarks/train_expert/seed0/seq_ft/tiny_caption.tsv"
    touch(tmp_path, benchmark)
    (tmp_path / benchmark).write_text("s\tmax_rss\n100.0\t5\n")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch) -> FakeSlurm:
    return FakeSlurm(tmp_path_factory.mktemp("slurm") / "bin", monkeypatch)


def found(run: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    status.main([str(run / "run.yaml"), "--directory", str(run), "--json"])
    return json.loads(capsys.readouterr().out)


def test_jobs_of_every_state(run: Path, slurm: FakeSlurm, capsys) -> None:
    slurm.add(11, "rule_train_expert_wildcards_seed0_seq_ft_tiny_choice", run)
    slurm.add(12, "rule_predict_backbone_wildcards__tiny_caption", run, "PENDING")
    slurm.add(13, "rule_predict_backbone_wildcards__tiny_choice", run / "elsewhere")
    log = f"{ROOT}/logs/predict_backbone/tiny_ground.log"
    touch(run, log)
    (run / log).write_text("10 %\r20 %\nerror: no space\n\n")
    done = found(run, capsys)
    # 6 files of data, 3 trainings, 2 methods x 3 tasks of routes and of predictions, 3 of the
    # backbone's answers, 5 summaries
    assert sum(done["jobs"].values()) == 6 + 3 + 12 + 3 + 5
    assert {s: done["jobs"].get(s, 0) for s in ("done", "running", "pending", "stopped")} == {
        "done": 7,
        "running": 1,
        "pending": 1,
        "stopped": 1,
    }
    assert done["running"][0]["job"] == "train_expert seed0/seq_ft tiny_choice"
    assert done["running"][0]["where"] == "SLURM job 11 on node7"
    assert done["pending"] == [
        {
            "job": "predict_backbone tiny_caption",
            "where": "SLURM job 12",
            "state": "PENDING",
            "reason": "QOSMaxJobsPerUserLimit",
            "slurm_job": "12",
            "elapsed": "0:00",
        }
    ]
    assert done["stopped"][0]["said"] == "error: no space"


def test_snakemakes_note_decides_before_the_comment(run: Path, slurm: FakeSlurm, capsys) -> None:
    """Another run in the same directory has jobs with the same comments."""
    for number in (21, 22):
        slurm.add(number, "rule_train_expert_wildcards_seed0_seq_ft_tiny_choice", run)
    mark(run, "results/other/seed0/seq_ft/experts/tiny_choice", "21")
    mark(run, f"{EXPERTS}/tiny_choice", "22")
    assert [job["slurm_job"] for job in found(run, capsys)["running"]] == ["22"]


def test_an_unfinished_output_is_not_done(run: Path, slurm: FakeSlurm, capsys) -> None:
    mark(run, f"{ROOT}/data/tiny_ground/test.parquet", None)
    assert found(run, capsys)["jobs"]["done"] == 6


def test_a_running_training_and_what_is_left(run: Path, slurm: FakeSlurm, capsys) -> None:
    slurm.add(11, "rule_train_expert_wildcards_seed0_seq_ft_tiny_choice", run)
    write_progress(
        run / ROOT / "seed0/seq_ft/checkpoints/tiny_choice",
        {
            "phase": 1,
            "step": 40,
            "steps": 200,
            "loss": 0.5,
            "samples_per_second": 8.0,
            "seconds_left": 60.0,
            "gpu_memory": 3 << 30,
            "written": time.time() - 20,
        },
    )
    done = found(run, capsys)
    job = done["running"][0]
    assert (job["step"], job["steps"], job["loss"], job["gpu_memory"]) == (40, 200, 0.5, 3 << 30)
    assert job["seconds_left"] == pytest.approx(40, abs=5)
    # the running training, and one like the measured one of 100 s; nothing is known of
    # predict_backbone (3) and predict (2 x 3)
    assert done["left"]["seconds"] == pytest.approx(140, abs=5)
    assert done["left"]["until_done"] == pytest.approx(140, abs=5)
    assert done["left"]["unknown"] == 9
    status.main([str(run / "run.yaml"), "--directory", str(run)])
    shown = capsys.readouterr().out
    assert "tiny: 7 of 29 jobs done; 1 running, 21 waiting" in shown
    assert "done in about 2 min" in shown


def test_without_slurm_or_with_a_silent_one(run: Path, slurm: FakeSlurm, capsys) -> None:
    slurm.be_silent()
    done = found(run, capsys)
    assert done["slurm"] == "squeue: error: no answer"
    assert done["jobs"]["done"] == 7


def test_a_run_that_is_not_there(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.run(status.main, [str(tmp_path)])
    assert stop.value.code == 1
    assert "no run here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (119, "119 s"), (125, "2 min"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text

"""The tiny stream for real: every stage runs, and edits after it have the effects promised."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from stages.core.base import artifacts
from tests.helpers.project import Project

ROOT = Path("results/tiny")
SEED = ROOT / "seed0"


@pytest.fixture(scope="module")
def done(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run of two methods."""
    project = fresh.copy(tmp_path_factory.mktemp("done") / "project")
    file = project.folder / project.config
    config = yaml.safe_load(file.read_text())
    config |= {"methods": ["dmole", "seq_ft"], "variants": {}}
    config["training"] |= {"epochs": 6}
    file.write_text(yaml.safe_dump(config))
    ran = project.snakemake("--show-failed-logs")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (project.folder / "printed").write_text(ran.stderr)
    return project


@pytest.fixture
def work(done: Project, tmp_path: Path) -> Project:
    """A copy of the finished run to change."""
    return done.copy(tmp_path / "project")


SUMMARY = {"score", "compare", "report"}


def test_a_line_is_printed_for_each_job(done: Project) -> None:
    printed = (done.folder / "printed").read_text()
    lines = re.findall(
        r"^\[[\d:]+\] (\d+) of (\d+) jobs done.*: (\w.*) \(\d+ \w+\)$", printed, re.M
    )
    assert [int(number) for number, _, _ in lines] == list(range(1, len(lines) + 1))
    assert int(lines[-1][1]) == len(lines)
    assert "train_expert seed0/dmole tiny_choice" in {job for *_, job in lines}
    assert re.search(r"jobs done, about \d+ s left: ", printed)
    assert "jobid" not in printed


def test_every_artefact_is_there_and_readable(done: Project) -> None:
    root = done.folder
    tasks = ["tiny_caption", "tiny_choice", "tiny_ground"]
    for task in tasks:
        for name, path in {
            "data": ROOT / "data" / task / "test.parquet",
            "features": ROOT / "features" / f"{task}.parquet",
            "profile": SEED / "profiles" / f"{task}.parquet",
            "routes": SEED / "dmole/routes" / f"{task}.parquet",
            "predictions": SEED / "seq_ft/predictions" / f"{task}.parquet",
        }.items():
            assert artifacts.read_table(name, root / path).num_rows > 0
        for name in ("allocation", "router", "transfer"):
            folder = {"allocation": "allocations"}.get(name, f"{name}s")
            assert artifacts.read_json(name, root / SEED / folder / f"{task}.json")["task"] == task
        assert (root / SEED / "dmole/experts" / task / "adapter_model.safetensors").is_file()
    scores = artifacts.read_table("scores", root / ROOT / "scores.parquet").to_pylist()
    assert {(row["method"], row["step"], row["task"]) for row in scores} == {
        (method, stage, task)
        for method in ("dmole", "seq_ft")
        for stage in range(4)
        for task in tasks
    }
    artifacts.read_json("metrics", root / ROOT / "metrics.json")
    assert "</html>" in (root / ROOT / "report.html").read_text()


def test_what_trains_on_has_as_many_parameters_as_the_first_expert(done: Project) -> None:
    def count(method: str, task: str) -> int:
        file = done.folder / SEED / method / "experts" / task / "training.json"
        return json.loads(file.read_text())["trainable_parameters"]

    first, *others = (
        count("seq_ft", task) for task in ("tiny_caption", "tiny_choice", "tiny_ground")
    )
    assert others == [first, first]
    assert abs(first / count("dmole", "tiny_caption") - 1) < 0.05
    log = (done.folder / ROOT / "logs/train_expert/seed0/seq_ft/tiny_choice.log").read_text()
    assert f"learnt {first:,} parameters" in log


def test_each_pair_of_sample_and_experts_is_answered_once(done: Project) -> None:
    for method in ("dmole", "seq_ft"):
        folder = done.folder / SEED / method
        for file in (folder / "predictions").iterdir():
            answers = artifacts.read_table("predictions", file).to_pylist()
            pairs = [(row["sample_id"], tuple(row["experts"])) for row in answers]
            routes = artifacts.read_table("routes", folder / "routes" / file.name).to_pylist()
            assert len(pairs) == len(set(pairs))
            assert set(pairs) == {(row["sample_id"], tuple(row["experts"])) for row in routes}


def test_a_second_run_has_nothing_to_do(done: Project) -> None:
    assert done.plan() == []


def test_a_copied_folder_is_taken_over(work: Project) -> None:
    """Its times make everything out of date, and there is no record of how it was made."""
    shutil.rmtree(work.folder / ".snakemake")
    for age, file in enumerate(sorted((work.folder / ROOT).rglob("*"), reverse=True)):
        os.utime(file, (10**9 - age, 10**9 - age))
    command = [sys.executable, "-m", "stages.tools.adopt", work.config]
    adopted = subprocess.run(command, cwd=work.folder, capture_output=True, text=True)
    assert adopted.returncode == 0, adopted.stderr
    assert "54 of 54 jobs are up to date" in adopted.stdout
    assert work.plan() == []


def test_a_deleted_expert_is_made_again_with_the_same_bytes(work: Project) -> None:
    before = work.digests(ROOT)
    shutil.rmtree(work.folder / SEED / "seq_ft/experts/tiny_ground")
    jobs = {(job.rule, job.scope) for job in work.plan()}
    assert jobs == {
        ("train_expert", "seed0/seq_ft"),
        ("predict", "seed0/seq_ft"),
        ("score", ""),
        ("compare", ""),
        ("report", ""),
    }
    assert work.snakemake().returncode == 0
    assert work.digests(ROOT) == before


def test_an_edited_threshold_reroutes_without_training(work: Project) -> None:
    router = work.folder / SEED / "routers/tiny_caption.json"
    content = json.loads(router.read_text())
    router.write_text(json.dumps(content | {"threshold": 1e-12}))
    assert {job.rule for job in work.plan()} == SUMMARY | {"route_samples", "predict"}
    routes = SEED / "dmole/routes/tiny_caption.parquet"
    assert work.snakemake(str(routes)).returncode == 0
    rows = artifacts.read_table("routes", work.folder / routes).to_pylist()
    assert rows
    assert not any(row["experts"][:1] == ["tiny_caption"] for row in rows)


def test_a_faulty_edit_of_an_artefact_is_named(work: Project) -> None:
    router = work.folder / SEED / "routers/tiny_caption.json"
    content = json.loads(router.read_text())
    router.write_text(json.dumps(content | {"threshold": "low"}))
    failed = work.snakemake("--show-failed-logs", str(SEED / "dmole/routes/tiny_caption.parquet"))
    assert failed.returncode != 0
    assert f"error: {SEED}/routers/tiny_caption.json: threshold" in failed.stdout + failed.stderr


def test_a_killed_training_goes_on_from_its_checkpoint(work: Project) -> None:
    before = work.digests(ROOT)
    expert = SEED / "seq_ft/experts/tiny_ground"
    shutil.rmtree(work.folder / expert)
    process = subprocess.Popen(
        [*work.command, "--nolock", str(expert)],
        cwd=work.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    checkpoints = work.folder / SEED / "seq_ft/checkpoints/tiny_ground"
    deadline = time.monotonic() + 300
    while not list(checkpoints.rglob("trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (work.folder / expert).exists()
    again = work.snakemake("--rerun-incomplete", "--nolock")
    assert again.returncode == 0, again.stdout + again.stderr
    assert work.digests(ROOT) == before


def test_an_edit_is_not_lost_to_a_change_of_code(work: Project) -> None:
    router = work.folder / SEED / "routers/tiny_caption.json"
    edited = json.dumps(json.loads(router.read_text()) | {"threshold": 1e-12})
    router.write_text(edited)
    with (work.folder / "stages/fit_router.py").open("a") as code:
        code.write("\nCHANGED = 1\n")
    stopped = work.snakemake()
    assert stopped.returncode == 1
    assert (
        f"{SEED}/routers/tiny_caption.json: made by fit_router" in stopped.stdout + stopped.stderr
    )
    assert router.read_text() == edited

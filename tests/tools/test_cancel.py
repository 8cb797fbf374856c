"""What `cmit cancel` ends, and what it leaves alone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from stages.core.base import cli
from stages.tools import cancel
from tests.helpers.fake_slurm import FakeSlurm

CONFIG = {
    "stream": "tiny",
    "manifests": "tests/data/tiny",
    "tasks": ["tiny_caption", "tiny_choice"],
    "methods": ["seq_ft"],
    "backbone": {"path": "results/backbones/none"},
}
TRAINING = "rule_train_expert_wildcards_seed0_seq_ft_tiny_choice"
SNAKEMAKE = """import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
time.sleep(100)
"""
SLEEP = "import time; time.sleep(100)"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch) -> FakeSlurm:
    return FakeSlurm(tmp_path_factory.mktemp("slurm") / "bin", monkeypatch)


@pytest.fixture
def started(run: Path) -> Iterator[list[subprocess.Popen]]:
    """Processes that a test started."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start(run: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SLEEP, *words], cwd=run)


def call(run: Path, *flags: str) -> None:
    cancel.main([str(run / "run.yaml"), "--directory", str(run), *flags])


def test_slurm_jobs_of_the_run_and_no_others(run: Path, slurm: FakeSlurm, capsys) -> None:
    slurm.add(31, TRAINING, run)
    slurm.add(32, TRAINING, run / "elsewhere")
    slurm.add(33, "rule_align_wildcards_sample7", run)
    slurm.add(34, "rule_prepare_data_wildcards_tiny_choice_test", run, "PENDING")
    call(run, "--yes")
    assert sorted(slurm.cancelled) == ["31", "34"]
    assert "cancelled SLURM jobs 31, 34" in capsys.readouterr().out


def test_nothing_without_a_yes(run: Path, slurm: FakeSlurm, capsys, monkeypatch) -> None:
    slurm.add(31, TRAINING, run)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(SystemExit) as stop:
        cli.run(cancel.main, [str(run / "run.yaml"), "--directory", str(run)])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert "train_expert seed0/seq_ft tiny_choice: SLURM job 31 on node7, RUNNING" in said.out
    assert "add --yes" in said.err
    assert slurm.cancelled == []


def test_processes_of_the_run_and_no_others(run: Path, slurm: FakeSlurm, started, capsys) -> None:
    out = "results/tiny/seed0/seq_ft/experts/tiny_choice"
    mine = start(run, "stages.train_expert", "--out", out)
    others = [
        start(run, "stages.train_expert", "--out", out.replace("results/tiny", "results/other")),
        start(run, "elsewhere.train_expert", "--out", out),
    ]
    started += [mine, *others]
    call(run, "--yes")
    assert mine.wait(timeout=10) == -15  # SIGTERM, with which a training saves first
    assert [process.poll() for process in others] == [None, None]
    assert f"told processes {mine.pid} to save and end" in capsys.readouterr().out


def test_snakemake_ends_first(run: Path, slurm: FakeSlurm, started, capsys) -> None:
    program = run / "snakemake"
    program.write_text(SNAKEMAKE)
    command = [sys.executable, str(program), "--configfile", "run.yaml"]
    mine = subprocess.Popen([*command, "--cores", "2"], cwd=run, stdout=subprocess.PIPE)
    other = subprocess.Popen([*command, "--config", "output=elsewhere"], cwd=run)
    started += [mine, other]
    mine.stdout.readline()  # from now on it can be interrupted
    call(run, "--yes")
    assert mine.wait(timeout=10) != 0
    assert other.poll() is None
    said = capsys.readouterr().out
    assert f"ended Snakemake, process {mine.pid}" in said
    assert f"stays: Snakemake, process {other.pid}, of another configuration" in said


def test_nothing_to_cancel(run: Path, slurm: FakeSlurm, capsys) -> None:
    call(run)
    assert capsys.readouterr().out == f"{run / 'results/tiny'}: nothing is going on\n"


def test_a_silent_slurm_is_an_error(run: Path, slurm: FakeSlurm, capsys) -> None:
    slurm.be_silent()
    with pytest.raises(SystemExit) as stop:
        cli.run(cancel.main, [str(run / "run.yaml"), "--directory", str(run), "--yes"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: squeue: error: no answer\n"

"""A run's jobs as SLURM's commands tell of them; the commands are scripts here."""

import asyncio
import logging
import os
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.core.cluster import queue as module
from stages.core.cluster.queue import Queue


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first on the search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def queue(caplog: pytest.LogCaptureFixture) -> Queue:
    caplog.set_level(logging.INFO)
    return Queue("run-7", logging.getLogger("slurm"), threading.Event())


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_look_gives_states_and_reasons(commands: Path, queue: Queue) -> None:
    script(
        commands / "squeue",
        '[ "$2" = run-7 ] && printf "8|RUNNING|None\\n9|PENDING|ReqNodeNotAvail, n1|n2\\n"',
    )
    assert asyncio.run(queue.look()) == {
        "8": ("RUNNING", "None"),
        "9": ("PENDING", "ReqNodeNotAvail, n1|n2"),
    }


def test_an_outage_is_said_once_and_its_end_too(
    commands: Path, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    script(commands / "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert asyncio.run(queue.look()) is None
    assert asyncio.run(queue.look()) is None
    script(commands / "squeue", "true")
    assert asyncio.run(queue.look()) == {}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].endswith("Unable to contact slurm controller")
    assert said[1].startswith("SLURM answers again, after ")


def test_a_question_ends_with_the_run(commands: Path, queue: Queue) -> None:
    script(commands / "squeue", "exec sleep 60")
    threading.Timer(0.2, queue.stopped.set).start()
    began = time.monotonic()
    assert asyncio.run(queue.look()) is None
    assert time.monotonic() - began < 30


def test_the_database_says_how_forgotten_jobs_ended(commands: Path, queue: Queue) -> None:
    script(commands / "sacct", 'printf "8|CANCELLED by 0\\n9|COMPLETED\\n"')
    found = asyncio.run(queue.remembered(["8", "9", "10"], accounting=True))
    assert found == {"8": "CANCELLED", "9": "COMPLETED"}
    script(commands / "sacct", "echo 'slurmdbd: Connection refused' >&2; exit 1")
    assert asyncio.run(queue.remembered(["8"], accounting=True)) == {}
    assert asyncio.run(queue.remembered(["8"], accounting=False)) == {"8": "UNKNOWN"}


def test_a_job_that_was_taken_unsaid_is_found_by_its_comment(commands: Path, queue: Queue) -> None:
    lines = "8|rule_predict_wildcards_a\\n9|rule_predict_wildcards_a\\n10|rule_predict\\n"
    script(commands / "squeue", f'printf "{lines}"')
    assert queue.taken("rule_predict_wildcards_a", {"8"}) == "9"
    assert queue.taken("rule_predict", {"8", "9"}) == "10"
    assert queue.taken("rule_train_expert", set()) is None
    script(commands / "squeue", "exit 1")
    with pytest.raises(OSError):
        queue.taken("rule_predict", set())


def test_jobs_are_cancelled_by_the_runs_name(commands: Path, queue: Queue, tmp_path: Path) -> None:
    script(
        commands / "scancel",
        f'echo "$@" >> {tmp_path}/calls; [ $(wc -l < {tmp_path}/calls) -gt 1 ]',
    )
    queue.cancel()
    assert (tmp_path / "calls").read_text() == "--name=run-7\n" * 2


def test_what_could_not_be_cancelled_is_said(
    commands: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CANCEL_FOR", 0.1)
    script(commands / "scancel", "echo 'Unable to contact slurm controller' >&2; exit 1")
    queue.cancel()
    assert caplog.messages == [
        "SLURM did not cancel the jobs (Unable to contact slurm controller). "
        "When it answers: scancel --name=run-7"
    ]


def test_why_a_job_waits_is_said_once_for_each_reason(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for minutes, reason in [(0, "Priority"), (9, "Priority"), (11, "Priority"), (12, "Priority")]:
        clock[0] = 60.0 * minutes
        queue.tell("train_expert seed0_dmole_skvg", "8", "PENDING", reason)
    clock[0] = 60.0 * 30
    queue.tell("train_expert seed0_dmole_skvg", "8", "PENDING", "PartitionTimeLimit")
    queue.tell("train_expert seed0_dmole_skvg", "8", "RUNNING", "None")
    clock[0] = 60.0 * 35
    queue.tell("train_expert seed0_dmole_skvg", "8", "PENDING", "BeginTime")
    assert caplog.messages == [
        "train_expert seed0_dmole_skvg (job 8) has been waiting for 11 minutes. "
        "Priority: others come first.",
        "train_expert seed0_dmole_skvg (job 8) has been waiting for 30 minutes. "
        "PartitionTimeLimit: it asks for more time than the partition allows, and will "
        "never start.",
    ]

"""Two trainings of one expert folder: which of them goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from stages.core.base.errors import InputError
from stages.core.training import lock as locks
from stages.core.training.lock import only_training

HOLD = """
import sys, time
from pathlib import Path
from stages.core.training import lock as locks

locks.BEAT = 0.05
with locks.only_training(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    monkeypatch.setattr(locks, "PAUSE", 0.05)
    monkeypatch.setattr(locks, "PATIENCE", 0.5)


@pytest.fixture
def other(tmp_path):
    """Another process of this host that trains the folder b."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def left_by(path: Path, host: str, **more) -> Path:
    said = {"host": host, "process": 12, "job": "345", "since": "2026-01-02T03:04:05", "key": "k"}
    path.write_text(json.dumps(said | more))
    return path


def test_it_is_there_as_long_as_the_training(tmp_path: Path) -> None:
    folder = tmp_path / "experts" / "b"
    with only_training(folder) as lock:
        assert [path.name for path in folder.parent.iterdir()] == [".b.lock"]
        said = json.loads(lock.path.read_text())
        assert (said["host"], said["process"]) == (socket.gethostname(), os.getpid())
        with only_training(folder.with_name("c")):  # another folder
            lock.check()
    assert list(folder.parent.iterdir()) == []


def test_it_is_released_when_the_training_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), only_training(tmp_path / "b"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_living_training_is_not_disturbed(quick, tmp_path: Path, other) -> None:
    before = (tmp_path / ".b.lock").read_bytes()
    message = rf"b: is being trained by process {other.pid} on .*Wait for its end, or end it"
    with pytest.raises(InputError, match=message), only_training(tmp_path / "b"):
        pass
    assert (tmp_path / ".b.lock").read_bytes() == before
    assert other.poll() is None


def test_a_killed_training_of_this_host_is_followed_at_once(
    tmp_path: Path, other, monkeypatch
) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    monkeypatch.setattr(time, "sleep", None)  # nobody waits
    with only_training(tmp_path / "b") as lock:
        assert json.loads(lock.path.read_text())["process"] == os.getpid()


def test_a_dead_training_of_another_host_is_followed_after_a_while(
    quick, tmp_path: Path, capsys
) -> None:
    left_by(tmp_path / ".b.lock", "node7")
    begun = time.monotonic()
    with only_training(tmp_path / "b") as lock:
        lock.check()
    assert time.monotonic() - begun >= locks.PATIENCE
    assert "process 12 on node7, SLURM job 345, since 2026-01-02" in capsys.readouterr().out


def test_a_living_training_of_another_host_is_not_disturbed(quick, tmp_path: Path) -> None:
    path, ended = left_by(tmp_path / ".b.lock", "node7"), Event()

    def live() -> None:
        while not ended.wait(0.02):
            path.touch()

    thread = Thread(target=live)
    thread.start()
    try:
        with pytest.raises(InputError, match="node7, SLURM job 345"), only_training(tmp_path / "b"):
            pass
    finally:
        ended.set()
        thread.join()
    assert json.loads(path.read_text())["key"] == "k"


def test_a_training_of_another_host_that_ends_meanwhile(quick, tmp_path: Path, monkeypatch) -> None:
    path = left_by(tmp_path / ".b.lock", "node7")
    monkeypatch.setattr(locks, "PATIENCE", 600)
    monkeypatch.setattr(time, "sleep", lambda _: path.unlink())
    with only_training(tmp_path / "b") as lock:
        lock.check()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}"])
def test_a_damaged_lock_is_no_obstacle(quick, tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".b.lock").write_bytes(content)
    with only_training(tmp_path / "b") as lock:
        lock.check()


def test_without_flock_the_stamp_alone_counts(quick, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    left_by(tmp_path / ".b.lock", socket.gethostname())
    with (
        only_training(tmp_path / "b"),
        pytest.raises(InputError, match=rf"process {os.getpid()} on"),
        only_training(tmp_path / "b"),
    ):
        pass


def test_a_training_whose_lock_was_taken_ends_by_itself(tmp_path: Path, other) -> None:
    path = tmp_path / ".b.lock"
    path.unlink()
    left_by(path, "node7")
    _, message = other.communicate(timeout=60)
    assert other.returncode == 1
    assert message.startswith(f"error: {tmp_path}/b: another training took over")
    assert message.count("\n") == 1
    assert json.loads(path.read_text())["host"] == "node7"


def test_a_lock_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    with only_training(tmp_path / "b") as lock:
        lock.path.unlink()
        with pytest.raises(InputError, match=r"\.b\.lock was deleted; this one ends"):
            lock.check()

"""GPU stages: which command, on which GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.base import launch
from stages.core.base.errors import InputError


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    """Locks of this test only."""
    monkeypatch.setattr(launch, "LOCKS", tmp_path)
    monkeypatch.setattr(launch, "PAUSE", 0.05)


def test_one_process_is_plain_python_and_more_are_torchrun():
    assert launch.command(1, "stages.x", ["--a"])[1:] == ["-m", "stages.x", "--a"]
    line = launch.command(3, "stages.x", ["--a"])
    assert line[1:3] == ["-m", "stages.core.base.torchrun"]
    assert line[-4:] == ["--nproc-per-node=3", "-m", "stages.x", "--a"]


def test_several_nodes_get_a_torchrun_each(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(launch, "free_port", lambda: 4321)
    monkeypatch.setattr(launch.socket, "gethostname", lambda: "n1")
    started = []
    monkeypatch.setattr(os, "execvp", lambda _, line: started.append(line) or sys.exit())
    with pytest.raises(SystemExit):
        launch.main(["8", "--nodes", "2", "--cpus", "32", "stages.x", "--task", "a", "--nodes"])
    srun, torchrun = started[0][:7], started[0][7:]
    assert srun[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert "--cpus-per-task=32" in srun
    assert torchrun[:3] == [sys.executable, "-m", "stages.core.base.torchrun"]
    assert torchrun[3:6] == ["--nnodes=2", "--nproc-per-node=4", "--rdzv-id=77"]
    assert torchrun[6:8] == ["--rdzv-backend=c10d", "--rdzv-endpoint=n1:4321"]
    assert torchrun[8:] == ["-m", "stages.x", "--task", "a", "--nodes"]


def test_several_nodes_need_a_job_and_an_even_share(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(InputError, match="gpus.nodes 2: needs a SLURM job"):
        launch.command_on_nodes(8, 2, 1, "stages.x", [])
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(InputError, match="8 GPUs asked for on 3 nodes"):
        launch.command_on_nodes(8, 3, 1, "stages.x", [])


def test_visible_gpus_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert launch.visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launch.visible_gpus() == []


@pytest.mark.parametrize(("gpus", "there"), [(["0"], r"1 there \(0\)"), ([], r"0 there \(none\)")])
def test_too_few_gpus_are_an_error_that_says_what_to_change(monkeypatch, gpus, there):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(InputError, match=f"2 GPUs asked for, {there}.*gpus.training"):
        launch.on_cpu(gpus, 2)


def test_a_cpu_is_used_for_one_process_or_where_gpus_are_hidden(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert launch.on_cpu([], 1)
    assert not launch.on_cpu(["0", "1"], 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launch.on_cpu([], 2)


def test_jobs_side_by_side_get_different_gpus(tmp_path):
    """The locks of a process that ended, also of one that was killed, are free again."""
    holder = (
        "import sys, pathlib; from stages.core.base import launch\n"
        f"launch.LOCKS = pathlib.Path({str(tmp_path)!r})\n"
        "print(*launch.take(['0', '1', '2'], int(sys.argv[1])), flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline().split() == ["0", "1"]
        assert launch.take(["0", "1", "2"], 1) == ["2"]
        process.kill()
    assert launch.take(["0", "1"], 2) == ["0", "1"]


def test_the_locks_outlive_the_start_of_the_stage(tmp_path, monkeypatch):
    """``exec`` keeps the process and its open files, and the stage sees its GPUs alone."""
    started = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(os, "execv", lambda _, line: started.append(line))
    launch.main(["1", "stages.x"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    child = subprocess.run(
        [sys.executable, "-c", "import os, sys; os.fstat(int(sys.argv[1]))", str(held(tmp_path))],
        close_fds=False,
    )
    assert child.returncode == 0
    assert len(started) == 1


def test_in_a_slurm_job(monkeypatch, tmp_path):
    """GPUs that were asked for are the stage's own; of more than that it takes free ones."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(os, "execv", lambda *_: None)
    launch.main(["2", "stages.x"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="3 GPUs asked for, 2 there"):
        launch.main(["3", "stages.x"])
    launch.main(["1", "stages.x"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert launch.take(["0", "1"], 1) == ["1"]
    monkeypatch.setenv("SLURM_JOB_ID", "8")  # on the same node, with a GPU 0 of its own
    assert launch.take(["0"], 1) == ["0"]


def held(folder):
    """The descriptor of the lock file that this process has open."""
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink().is_relative_to(folder):
                return int(link.name)
        except FileNotFoundError:
            continue
    raise AssertionError("no lock is held")

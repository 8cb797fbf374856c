"""What clusters do to a run, and that nothing is lost by it: jobs that only sleep."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, wait_for
from tests.cluster.sleepers import Sleepers

pytestmark = pytest.mark.cluster


@pytest.fixture
def sleepers(cluster: Cluster, tmp_path: Path) -> Iterator[Sleepers]:
    with Sleepers.at(cluster, tmp_path / "run") as sleepers:
        yield sleepers


def done(sleepers: Sleepers, *files: str) -> None:
    """The run ended well, with these files and no attempt more than was needed."""
    assert sleepers.end() == 0, sleepers.messages
    assert all((sleepers.folder / file).exists() for file in files)
    assert "Trying to restart" not in sleepers.messages
    assert "Traceback" not in sleepers.messages


def test_a_controller_that_restarts(sleepers: Sleepers) -> None:
    sleepers.start("naps/15_a", "naps/1_b")
    wait_for(lambda: sleepers.jobs("RUNNING"))
    sleepers.cluster.restart(seconds=10)
    done(sleepers, "naps/15_a", "naps/1_b")
    assert len(sleepers.jobs()) == 2


def test_two_minutes_without_an_answer(sleepers: Sleepers) -> None:
    broken = sleepers.folder / "broken"
    sleepers.stand_in("squeue", f'[ -e {broken} ] && exit 1; exec $REAL "$@"')
    sleepers.start("naps/5_a")
    wait_for(lambda: sleepers.jobs("RUNNING"))
    broken.touch()
    wait_for(lambda: sleepers.jobs("COMPLETED"), seconds=100)
    with pytest.raises(TimeoutError):
        wait_for(lambda: sleepers.process and sleepers.process.poll() is not None, seconds=100)
    broken.unlink()
    done(sleepers, "naps/5_a")
    assert "SLURM answers again" in sleepers.messages


def test_submissions_that_fail_for_twenty_seconds(sleepers: Sleepers) -> None:
    """The first one was taken all the same: SLURM had only not been able to say so."""
    taken = sleepers.folder.parent / "taken"
    tried = sleepers.folder.parent / "tried"
    sleepers.stand_in(
        "sbatch",
        f'[ -e {taken} ] || {{ touch {taken}; $REAL "$@" > /dev/null; }}\n'
        f'echo >> {tried}; [ $(wc -l < {tried}) -gt 4 ] && exec $REAL "$@"\n'
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv"
        " operation' >&2; exit 1",
    )
    sleepers.start("naps/1_a", "naps/1_b")
    done(sleepers, "naps/1_a", "naps/1_b")
    assert "SLURM is busy, next try in 5 s" in sleepers.messages
    assert "SLURM had taken it, as job" in sleepers.messages
    assert len(sleepers.jobs()) == 2


def test_a_partition_with_a_short_limit(sleepers: Sleepers) -> None:
    sleepers.start("naps/1_a", CMIT_SLURM_PARTITION="short")
    done(sleepers, "naps/1_a")
    assert "nap asks for 2 minutes instead of 10: partition short" in sleepers.messages
    assert [job.minutes for job in sleepers.jobs()] == [2]


def test_only_what_a_job_lacked_grows(sleepers: Sleepers) -> None:
    """One is killed for its memory, one fails by itself, one for its time."""
    sleepers.start("eaten/800", "stumbled", "dawdled")
    assert sleepers.end() == 0, sleepers.messages
    asked = {
        rule: [(job.memory, job.minutes) for job in sleepers.jobs() if job.rule == rule]
        for rule in ("eat", "stumble", "dawdle")
    }
    assert asked == {
        "eat": [(600, 10), (1200, 10)],
        "stumble": [(600, 10), (600, 10)],
        "dawdle": [(600, 1), (600, 2)],
    }


def test_a_site_that_forgets_its_jobs(forgetful: Cluster, tmp_path: Path) -> None:
    """After ten seconds, without accounting; of two nodes, whose GPUs a job has on one of them."""
    with Sleepers.at(forgetful, tmp_path / "run") as sleepers:
        broken = sleepers.folder.parent / "broken"
        sleepers.stand_in("squeue", f'[ -e {broken} ] && exit 1; exec $REAL "$@"')
        sleepers.start("naps/30_a", "gpus/a", "gpus/b")
        wait_for(lambda: any(job.rule == "nap" for job in sleepers.jobs("RUNNING")))
        wait_for(lambda: "Finished jobid" in sleepers.messages)
        broken.touch()
        wait_for(lambda: (sleepers.folder / "naps/30_a").exists() and not forgetful.jobs(), 400)
        broken.unlink()
        done(sleepers, "naps/30_a", "gpus/a", "gpus/b")
        assert "SLURM has forgotten it, its output files decide" in sleepers.messages
        for name in "ab":
            assert (sleepers.folder / "gpus" / name).read_text() == "0,1\n"


def test_a_node_that_goes_down(forgetful: Cluster, tmp_path: Path) -> None:
    """Its job is queued again, on the other node."""
    with Sleepers.at(forgetful, tmp_path / "run") as sleepers:
        sleepers.start("naps/12_a")
        wait_for(lambda: sleepers.jobs("RUNNING"))
        forgetful.call("scontrol", "update", "NodeName=n1", "State=DOWN", "Reason=test")
        done(sleepers, "naps/12_a")
        forgetful.call("scontrol", "update", "NodeName=n1", "State=RESUME")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_signals_cancel_the_jobs_and_release_the_lock(
    sleepers: Sleepers, number: signal.Signals
) -> None:
    """In the middle of a look that gets no answer; the first job had been seen by another one."""
    slow = sleepers.folder.parent / "slow"
    asked = sleepers.folder.parent / "asked"
    sleepers.stand_in("squeue", f'[ -e {slow} ] && {{ touch {asked}; sleep 50; }}; exec $REAL "$@"')
    sleepers.start("naps/300_a", "naps/300_b")
    wait_for(lambda: len(sleepers.jobs("RUNNING")) == 2)
    slow.touch()
    wait_for(asked.exists, seconds=60)
    assert sleepers.process is not None
    os.kill(sleepers.process.pid, number)
    assert sleepers.end(seconds=30) != 0
    wait_for(lambda: not sleepers.cluster.active(), seconds=30)
    assert {job.state for job in sleepers.jobs()} == {"CANCELLED"}
    assert not list((sleepers.folder / ".snakemake").glob("locks/*"))


# --- with accounting; the controller forgets jobs after a minute ---


def test_a_queue_that_takes_two_jobs(site: Cluster, tmp_path: Path) -> None:
    with Sleepers.at(site, tmp_path / "run") as sleepers:
        names = [f"naps/1_{name}" for name in "abcd"]
        sleepers.start(*names, CMIT_SLURM_ACCOUNT="lab", CMIT_SLURM_QOS="few")
        done(sleepers, *names)
        assert "at most 2 jobs of yours at a time" in sleepers.messages
        assert "the queue is full of your jobs" in sleepers.messages


def test_a_job_that_was_cancelled_and_forgotten_is_run_again(site: Cluster, tmp_path: Path) -> None:
    """sacct says who cancelled it."""
    with Sleepers.at(site, tmp_path / "run") as sleepers:
        broken = sleepers.folder.parent / "broken"
        sleepers.stand_in("squeue", f'[ -e {broken} ] && exit 1; exec $REAL "$@"')
        sleepers.start("naps/20_a", CMIT_SLURM_ACCOUNT="lab")
        (first,) = wait_for(lambda: sleepers.jobs("RUNNING"))
        broken.touch()
        site.call("scancel", str(first.id))
        wait_for(lambda: not site.jobs(), seconds=200)
        broken.unlink()
        assert sleepers.end() == 0, sleepers.messages
        assert f"SLURM job {first.id}: CANCELLED" in sleepers.messages
        assert (sleepers.folder / "naps/20_a").exists()


def test_a_job_costs_the_scheduler_one_call(site: Cluster, tmp_path: Path) -> None:
    """Beside the looks at the queue, one for all jobs, and that at the site."""
    with Sleepers.at(site, tmp_path / "run") as sleepers:
        calls = sleepers.folder.parent / "calls"
        for command in ("sbatch", "squeue", "sacct", "sacctmgr", "scontrol", "sinfo", "scancel"):
            sleepers.stand_in(command, f'echo {command} >> {calls}; exec $REAL "$@"')
        names = [f"naps/1_{name}" for name in "abcdefgh"]
        sleepers.start(*names, CMIT_SLURM_ACCOUNT="lab")
        done(sleepers, *names)
        counts = Counter(calls.read_text().split())
        print(dict(counts))
        assert counts.pop("sbatch") == 8
        assert counts.pop("squeue") < 12
        assert counts == {"scontrol": 6, "sinfo": 1, "sacctmgr": 2}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CMIT_SLURM_PARTITION": "mian"}, "unknown partition 'mian'. Did you mean 'main'?"),
        ({"CMIT_SLURM_QOS": "fast"}, "unknown QOS 'fast'"),
        ({"CMIT_SLURM_ACCOUNT": "labb"}, "unknown account 'labb'. Did you mean 'lab'?"),
    ],
)
def test_what_a_site_would_refuse_is_said_before(
    site: Cluster, tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    with Sleepers.at(site, tmp_path / "run") as sleepers:
        sleepers.start("naps/1_a", **environment)
        assert sleepers.end() == 1
        assert words in sleepers.messages
        assert "Traceback" not in sleepers.messages
        assert sleepers.jobs() == []

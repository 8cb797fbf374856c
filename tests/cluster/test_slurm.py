"""The tiny stream through `snakemake --profile slurm`, judged by SLURM's own records.

One run is disturbed in three ways while it goes; the tests then look at what SLURM remembers of
it. What follows are short runs of single jobs on its results.
"""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pytest

from tests.cluster.cluster import GPUS, Cluster, Job, transcript, wait_for
from tests.cluster.user import EXPERTS, SEED, User

pytestmark = pytest.mark.cluster

FIRST = "tiny_caption"  # the task whose training is preempted


@dataclass(frozen=True)
class FirstRun:
    """What is remembered of the disturbed run."""

    code: int
    messages: str
    jobs: list[Job]
    cancelled: int  # id of the job that was cancelled

    def of(self, rule: str) -> list[Job]:
        """The jobs of a rule."""
        return [job for job in self.jobs if job.rule == rule]


@pytest.fixture(scope="module")
def user(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Somebody on a cluster without accounting."""
    with User.at(cluster, tmp_path_factory.mktemp("clone")) as user:
        yield user


@pytest.fixture(scope="module")
def first(user: User) -> FirstRun:
    """The whole stream; a job is cancelled, one needs more memory, one is preempted."""
    cluster = user.cluster
    scarce = "fit_router:mem_mb=350 if wildcards.task == 'tiny_ground' else 4000"
    process = user.start("--set-resources", scarce)

    def running(rule: str, task: str) -> list[Job]:
        assert process.poll() is None, user.messages()
        now = [job for job in cluster.jobs() if job.state == "RUNNING"]
        return [job for job in now if (job.rule, job.task) == (rule, task)]

    victim = wait_for(lambda: running("profile_gradients", "tiny_choice"))[0]
    cluster.call("scancel", str(victim.id))
    wait_for(lambda: running("train_expert", FIRST) and user.saved(FIRST))
    urgent = ["--partition=urgent", f"--gpus={GPUS}", "--mem=100", "--job-name=urgent"]
    cluster.call("sbatch", *urgent, "--output=/dev/null", "--wrap=sleep 3")
    code = process.wait(timeout=3600)
    return FirstRun(code, user.messages(), cluster.jobs(), victim.id)


def test_the_stream_was_completed(first: FirstRun, user: User) -> None:
    print(transcript(first.jobs))
    assert first.code == 0, first.messages
    assert (user.project.folder / "results/tiny/report.html").is_file()


def test_every_stage_was_a_job_with_the_resources_of_its_rule(first: FirstRun) -> None:
    """CPUs and GPUs of every job; memory of first attempts (SLURM counts 1000 as 1000)."""
    done = [job for job in first.jobs if job.state == "COMPLETED" and job.rule]
    assert Counter(job.rule for job in done) == {
        "prepare_data": 6,
        "profile_gradients": 3,
        "extract_features": 6,
        "fit_router": 3,
        "train_expert": 3,
        "predict_backbone": 3,
        "predict": 3,
    }
    asked = {
        "prepare_data": (1, 4000, 0),
        "profile_gradients": (4, 16000, 1),
        "extract_features": (4, 16000, 1),
        "train_expert": (8, 32000, 1),
        "predict_backbone": (4, 16000, 1),
        "predict": (4, 16000, 1),
    }
    for rule, wanted in asked.items():
        given = {(job.cpus, job.memory, job.gpus) for job in first.of(rule)}
        assert wanted in given
        assert {(cpus, gpus) for cpus, _, gpus in given} == {(wanted[0], wanted[2])}


def test_gpu_jobs_at_the_same_time_had_different_gpus(first: FirstRun, user: User) -> None:
    ran = [job for job in first.jobs if job.gpus and job.rule and job.state == "COMPLETED"]
    devices = {job.id: set(user.cluster.devices(job)) for job in ran}
    assert all(len(devices[job.id]) == job.gpus for job in ran)
    together = [pair for pair in combinations(ran, 2) if pair[0].overlaps(pair[1])]
    assert together
    assert not any(devices[one.id] & devices[other.id] for one, other in together)
    for job in ran:  # as many as when it started ran at no other moment of its time
        assert sum(o.gpus for o in ran if o.start <= job.start < o.end) <= GPUS


def test_early_stages_of_different_tasks_waited_for_none_of_each_other(first: FirstRun) -> None:
    """All were in the queue before the first one ended; which then ran together is SLURM's."""
    for rule in ("predict_backbone", "extract_features"):
        done = [job for job in first.of(rule) if job.state == "COMPLETED"]
        by_task = {job.task: job for job in sorted(done, key=lambda job: -job.submitted)}
        assert len(by_task) == 3, rule
        jobs = by_task.values()
        assert max(job.submitted for job in jobs) < min(job.end for job in jobs), rule


def test_a_cancelled_job_was_submitted_again(first: FirstRun) -> None:
    jobs = [job for job in first.of("profile_gradients") if job.task == "tiny_choice"]
    assert [job.state for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert jobs[0].id == first.cancelled
    assert jobs[1].memory == jobs[0].memory  # nothing that it lacked


def test_a_job_killed_for_memory_got_more(first: FirstRun) -> None:
    jobs = [job for job in first.of("fit_router") if job.task == "tiny_ground"]
    assert [job.memory for job in jobs] == [350 * attempt for attempt in range(1, len(jobs) + 1)]
    assert {job.state for job in jobs[:-1]} <= {"FAILED", "OUT_OF_MEMORY"}
    assert len(jobs) > 1
    assert jobs[-1].state == "COMPLETED"


def test_a_preempted_training_went_on_from_its_checkpoint(first: FirstRun, user: User) -> None:
    (job,) = [job for job in first.of("train_expert") if job.task == FIRST]
    assert job.restarts == 1
    log = user.project.folder / f"results/tiny/logs/train_expert/seed0/dmole/{FIRST}.log"
    assert "going on from" in log.read_text()


def test_a_second_invocation_does_nothing(first: FirstRun, user: User) -> None:
    code, messages, jobs = user.run()
    assert code == 0, messages
    assert "Nothing to be done" in messages
    assert jobs == []


def test_an_undisturbed_training_gives_the_same_expert(first: FirstRun, user: User) -> None:
    preempted = user.weights(FIRST)
    shutil.rmtree(user.project.folder / EXPERTS / FIRST)
    code, messages, jobs = user.run(f"{EXPERTS}/{FIRST}")
    assert code == 0, messages
    assert [(job.rule, job.restarts) for job in jobs] == [("train_expert", 0)]
    assert user.weights(FIRST) == preempted


def test_another_threshold_trains_no_expert_anew(first: FirstRun, user: User) -> None:
    """Routers are fitted and parents chosen again; the parents stay, and so do their children,
    whether Snakemake notices that or the training itself."""
    file = user.project.folder / user.project.config
    file.write_text(file.read_text() + "threshold: {factor: 1.2}\n")
    tasks = ["tiny_choice", "tiny_ground"]
    before = [user.weights_file(task).stat().st_mtime_ns for task in tasks]
    code, messages, jobs = user.run(*[f"{EXPERTS}/{task}" for task in tasks])
    assert code == 0, messages
    assert {job.rule for job in jobs} - {"train_expert"} == {"fit_router"}
    assert [user.weights_file(task).stat().st_mtime_ns for task in tasks] == before


def test_siblings_of_the_parent_tree_train_at_the_same_time(first: FirstRun, user: User) -> None:
    """Two tasks are given the same parent by hand, in the files that decide it."""
    tasks = ["tiny_choice", "tiny_ground"]
    for task in tasks:
        file = user.project.folder / SEED / f"transfers/{task}.json"
        content = json.loads(file.read_text())
        content |= {"parent": FIRST, "losses": dict.fromkeys(content["losses"], 0.125)}
        file.write_text(json.dumps(content))
    code, messages, jobs = user.run(*[f"{EXPERTS}/{task}" for task in tasks])
    assert code == 0, messages
    one, other = jobs
    assert {one.task, other.task} == set(tasks)
    assert one.overlaps(other)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {"CMIT_SLURM_GPU_PARTITION": "gpus"}, "unknown partition 'gpus'"),
        (["--set-resources", f"train_expert:gpu={GPUS + 1}"], {}, f"more than {GPUS} GPUs"),
    ],
    ids=["wrong partition", "more GPUs than there are"],
)
def test_what_slurm_would_refuse_is_said_and_harms_nothing(
    first: FirstRun, user: User, arguments: list[str], environment: dict, message: str
) -> None:
    missing = user.project.folder / EXPERTS / FIRST
    missing.rename(missing.with_name("aside"))
    code, messages, jobs = user.run(
        f"{EXPERTS}/{FIRST}", "--retries", "0", *arguments, **environment
    )
    missing.with_name("aside").rename(missing)
    assert code != 0
    assert jobs == []
    assert message in messages
    assert "Traceback" not in messages
    assert (user.project.folder / SEED / f"allocations/{FIRST}.json").is_file()


def test_ctrl_c_cancels_the_jobs(first: FirstRun, user: User) -> None:
    """Last of all: it leaves a training cut off."""
    shutil.rmtree(user.project.folder / EXPERTS / FIRST)
    before = {job.id for job in user.cluster.jobs()}
    process = user.start(f"{EXPERTS}/{FIRST}")

    def mine() -> list[Job]:
        return [job for job in user.cluster.jobs() if job.id not in before]

    wait_for(lambda: [job for job in mine() if job.state == "RUNNING"])
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=300) != 0
    wait_for(lambda: not user.cluster.active(), seconds=60)
    assert {job.state for job in mine()} == {"CANCELLED"}
    assert not (user.project.folder / EXPERTS / FIRST).exists()

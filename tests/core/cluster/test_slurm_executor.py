"""What the executor makes of the answers of SLURM; neither SLURM nor Snakemake runs here."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.iocontainers import ResourceList
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from stages.core.cluster import executor as module
from stages.core.cluster.executor import Executor
from stages.core.cluster.site import Nodes, Partition, Site

BUSY = (
    "SLURM sbatch failed. The error message was 'sbatch: error: Socket timed out'.\n sbatch call: x"
)


class FakeQueue:
    """Answers that are set beforehand."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[str, str]] | None = {}
        self.database: dict[str, str] = {}
        self.was_taken: list[str | None | OSError] = []

    async def look(self) -> dict[str, tuple[str, str]] | None:
        return self.states if self.states is None else dict(self.states)

    async def remembered(self, numbers: set[str], accounting: bool) -> dict[str, str]:
        if not accounting:
            return dict.fromkeys(numbers, "UNKNOWN")
        return {number: self.database[number] for number in numbers if number in self.database}

    def taken(self, comment: str, known: set[str]) -> str | None:
        assert comment == "rule_train_expert_wildcards_skvg"
        answer = self.was_taken.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def tell(self, *said: str) -> None:
        pass


def job(**resources: object) -> Any:
    """A job as the executor sees it."""
    return SimpleNamespace(
        name="train_expert",
        rule=SimpleNamespace(name="train_expert"),
        wildcards=["skvg"],
        output=["experts/skvg"],
        threads=1,
        resources=ResourceList(fromdict={"runtime": 100, "mem_mb": 1000, **resources}),
    )


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Executor:
    """An executor of a site that allows 250 minutes and 2500 MB, and remembers jobs for 90 s."""
    monkeypatch.setattr(plugin.Executor, "__init__", lambda self, workflow, logger: None)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)
    made = Executor(None, None)
    settings = SimpleNamespace(init_seconds_before_status_checks=5, keep_successful_logs=False)
    made.workflow = SimpleNamespace(executor_settings=settings)
    made.logger = logging.getLogger("slurm")
    made.queue = FakeQueue()
    made.slurm_logdir = tmp_path
    nodes = Nodes(2500, 8, {}, frozenset(), 1)
    made.site = Site(
        "22", 90, False, frozenset(), {"p": Partition("p", True, True, 250, None, [nodes])}
    )
    made.ended = []
    monkeypatch.setattr(made, "report_job_success", lambda job: made.ended.append("success"))
    monkeypatch.setattr(made, "report_job_error", lambda job, msg, **_: made.ended.append(msg))
    return made


def look(executor: Executor, *numbers: str) -> list[str]:
    """The ids that are still active after a look."""
    active = [SubmittedJobInfo(job(), external_jobid=number, aux={}) for number in numbers]

    async def all_of() -> list[str]:
        return [info.external_jobid async for info in executor.check_active_jobs(active)]

    return asyncio.run(all_of())


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("COMPLETED", "success"),
        ("CANCELLED", "SLURM job 8: CANCELLED. "),
        ("TIMEOUT", "SLURM job 8: TIMEOUT, its time was over. "),
        ("OUT_OF_MEMORY", "SLURM job 8: OUT_OF_MEMORY, it needed more memory. "),
        ("PENDING", None),
        ("REQUEUED", None),
    ],
)
def test_states_end_a_job_or_do_not(executor: Executor, state: str, expected: str | None) -> None:
    executor.queue.states = {"8": (state, "None")}
    assert look(executor, "8") == ([] if expected else ["8"])
    assert executor.ended == ([expected] if expected else [])


def test_no_answer_ends_no_job_however_often(executor: Executor) -> None:
    executor.queue.states = None
    for _ in range(50):
        assert look(executor, "8", "9") == ["8", "9"]
    assert executor.ended == []


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_may_come_back_has_until_the_next_look(executor: Executor, state: str) -> None:
    executor.queue.states = {"8": (state, "")}
    assert look(executor, "8") == ["8"]
    executor.queue.states = {"8": ("PENDING", "BeginTime")}
    assert look(executor, "8") == ["8"]
    executor.queue.states = {"8": (state, "")}
    assert look(executor, "8") == ["8"]
    assert look(executor, "8") == []
    assert executor.ended == [f"SLURM job 8: {state}. "]


def test_a_forgotten_job_is_left_to_its_files(executor: Executor) -> None:
    executor.queue.states = {"8": ("RUNNING", "None")}
    assert look(executor, "8") == ["8"]
    executor.queue.states = {}
    assert look(executor, "8") == []
    assert executor.ended == ["success"]


def test_a_job_that_was_never_seen_has_three_looks(executor: Executor) -> None:
    assert look(executor, "8") == ["8"]
    assert look(executor, "8") == ["8"]
    assert look(executor, "8") == []


def test_accounting_says_how_a_forgotten_job_ended(executor: Executor) -> None:
    executor.site = Site("22", 90, True, frozenset(), {})
    executor.queue.states = {"8": ("RUNNING", "None"), "9": ("RUNNING", "None")}
    look(executor, "8", "9")
    executor.queue.states, executor.queue.database = {}, {"8": "CANCELLED"}
    assert look(executor, "8", "9") == ["9"]
    assert executor.ended == ["SLURM job 8: CANCELLED. "]


def test_looks_become_rarer_and_never_too_rare(executor: Executor) -> None:
    executor.queue.states = {"8": ("RUNNING", "None")}
    gaps = []
    for _ in range(4):
        look(executor, "8")
        gaps.append(executor.next_seconds_between_status_checks)
    assert gaps == [15, 25, 30, 30]  # a third of the 90 s
    executor.queue.states = {"8": ("RUNNING", "None"), "9": ("COMPLETED", "None")}
    look(executor, "8", "9")
    assert executor.next_seconds_between_status_checks == 5


@pytest.mark.parametrize(
    ("state", "failures", "time", "memory"),
    [
        ("FAILED", 2, 100, 1000),
        ("CANCELLED", 2, 100, 1000),
        ("TIMEOUT", 1, 200, 1000),
        ("TIMEOUT", 2, 250, 1000),
        ("OUT_OF_MEMORY", 1, 100, 2000),
        ("OUT_OF_MEMORY", 2, 100, 2500),
    ],
)
def test_only_what_was_lacking_grows(
    executor: Executor, state: str, failures: int, time: int, memory: int
) -> None:
    for _ in range(failures):
        executor.queue.states = {"8": (state, "")}
        look(executor, "8")
    again = job()
    executor._size(again)
    assert (again.resources.get("runtime"), again.resources.get("mem_mb")) == (time, memory)


def test_time_above_the_limit_is_not_asked_for(executor: Executor) -> None:
    long = job(runtime=720)
    executor._size(long)
    assert long.resources.get("runtime") == 250


def test_memory_is_asked_for_by_core_where_a_site_wants_that(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMIT_SLURM_MEM_PER_CPU", "yes")
    other = Executor(None, None)
    wanted = job(cpus_per_task=3)
    other._size(wanted)
    assert wanted.resources.get("mem_mb_per_cpu") == 334


def submit(executor: Executor, monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> list[str]:
    """Submit a job to a SLURM with these answers, '' for yes; what was reported."""
    reported: list[str] = []

    def submission(self: Any, job: Any) -> None:
        answer = answers.pop(0)
        info = SubmittedJobInfo(job, external_jobid="8")
        if answer:
            self._report_job_error_threadsafe(info, answer)
        else:
            self._report_job_submission_threadsafe(info)

    def error(self: Any, info: SubmittedJobInfo, msg: str) -> None:
        reported.append(msg)

    def taken(self: Any, info: SubmittedJobInfo) -> None:
        reported.append(f"job {info.external_jobid}")

    changed: dict[str, Callable] = {
        "run_job": submission,
        "_report_job_error_threadsafe": error,
        "_report_job_submission_threadsafe": taken,
    }
    for name, function in changed.items():
        monkeypatch.setattr(plugin.Executor, name, function)
    executor.run_job(job())
    return reported


def test_a_busy_slurm_is_tried_again(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    executor.queue.was_taken = [None, OSError("no answer"), OSError("no answer"), None]
    assert submit(executor, monkeypatch, [BUSY, BUSY, ""]) == ["job 8"]
    assert executor.queue.was_taken == []


def test_a_job_that_was_taken_unsaid_is_not_submitted_again(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.queue.was_taken = ["77"]
    assert submit(executor, monkeypatch, [BUSY]) == ["job 77"]


def test_a_refusal_is_an_error_at_once(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "SLURM sbatch failed. The error message was 'invalid partition specified: gpus'."
    assert submit(executor, monkeypatch, [refusal]) == [refusal]


def test_nothing_is_submitted_after_the_end(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor._stopped.set()
    assert submit(executor, monkeypatch, []) == []

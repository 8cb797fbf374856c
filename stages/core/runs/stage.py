"""What the table of stages is made of: stages, artefacts, and for which tasks a job reads one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.core.runs.runs import Runs


@dataclass(frozen=True)
class Job:
    """A job that the table is asked about: a run ('' where methods share it) and a task."""

    runs: Runs
    run: str
    task: str
    transfer: Callable[[], dict[str, Any] | None] = lambda: None
    """The choice of a parent, once it has been made."""

    @property
    def stream(self) -> list[str]:
        """All tasks in the order in which the run learns them."""
        return self.runs.tasks(self.run)

    @property
    def earlier(self) -> list[str]:
        """The tasks before this one."""
        return self.stream[: self.stream.index(self.task)]


Tasks = Callable[[Job], list[str]]  # the tasks whose artefact a job reads


@dataclass(frozen=True)
class Artefact:
    """A file or folder that a stage writes: its path below the place of its owner, and its schema
    (a table of ``artifacts.TABLES``, a JSON schema, or what its module says)."""

    path: str
    schema: str
    split: str = ""
    opened: bool = True  # people look at it, so it is made again when it is deleted


@dataclass(frozen=True)
class Stage:
    """One stage. ``shared``: the same for all methods; ``seedless``: for all seeds; ``ordered``:
    the order of the tasks matters; ``local``: seconds, so no SLURM job; ``fixed``: no variant may
    change its keys; ``summary``: one job for all runs."""

    config: tuple[str, ...] = ()
    reads: dict[str, Tasks] = field(default_factory=dict)
    writes: dict[str, Artefact] = field(default_factory=dict)
    backbone: bool = False
    shared: bool = False
    seedless: bool = False
    ordered: bool = False
    local: bool = False
    fixed: bool = False
    summary: bool = False
    rule: str = ""  # where it is not called like the stage


# --- for which tasks --------------------------------------------------------------------------


def own(job: Job) -> list[str]:
    """The job's own task."""
    return [job.task]


def stream(job: Job) -> list[str]:
    """All tasks."""
    return job.stream


def earlier(job: Job) -> list[str]:
    """The tasks before the job's."""
    return job.earlier


def rows_to_train_on(job: Job) -> list[str]:
    """Tasks whose training rows the method reads. It sees the stream up to its task, so that a
    task added at the end reruns no training."""
    return job.runs.method(job.run).reads_data(job.task, [*job.earlier, job.task])


def starting_states(job: Job) -> list[str]:
    """Tasks whose states training starts from; with D-MoLE the parent's."""
    method = job.runs.method(job.run)
    return method.starts_from(job.task, [*job.earlier, job.task], job.transfer())


def sized_like(job: Job) -> list[str]:
    """The task whose expert of D-MoLE has the size to match: the job's own where training starts
    from the backbone; otherwise the first, since a state that learns on keeps its shape. A task
    added at the end changes neither."""
    return job.stream[:1] if starting_states(job) else [job.task]


def states_at_test(job: Job) -> list[str]:
    """Tasks whose states may answer a test sample of the job's task at some step."""
    return job.runs.states_at_test(job.run, job.task)


def where(condition: Callable[[Job], bool], tasks: Tasks) -> Tasks:
    """``tasks`` where the condition holds for the job, otherwise none."""
    return lambda job: tasks(job) if condition(job) else []


def needs(artefact: str) -> Callable[[Job], bool]:
    """Whether the method reads an artefact of this name."""
    return lambda job: job.runs.needs(job.run, artefact)


def matched(job: Job) -> bool:
    """Whether ranks are solved from the size of D-MoLE's experts."""
    return job.runs.matches_allocations(job.run)


def has_transfer(job: Job) -> bool:
    """Whether experts may learn beside a parent."""
    return job.runs.has_transfer(job.run)


def parents_weighed(job: Job) -> bool:
    """Whether training decides if a parent is accepted."""
    return job.runs.weighs_parents(job.run)


def parent_answers(job: Job) -> bool:
    """Whether the chosen parent answers beside its child at test."""
    return job.runs.uses_transfer_at_test(job.run) and not parents_weighed(job)


def weighed_parent_answers(job: Job) -> bool:
    """The same where the child's training says whether it has a parent."""
    return job.runs.uses_transfer_at_test(job.run) and parents_weighed(job)


def threshold_required(job: Job) -> bool:
    """Whether a parent's threshold must be met."""
    return job.runs.config_of(job.run)["transfer"]["require_threshold"]

"""Single test samples of a finished run: what was asked, said and scored, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.base import artifacts
from stages.core.base.errors import InputError, unknown
from stages.core.runs.run_sheet import Run, RunSheet
from stages.core.runs.stage_table import artefact


@dataclass(frozen=True)
class Said:
    """An answer after a step."""

    text: str
    experts: list[str]
    score: float  # percentage; CIDEr times 100
    parsed: bool


@dataclass(frozen=True)
class Sample:
    """A test sample and its answers by step."""

    sample_id: str
    question: str
    references: list[str]
    steps: Mapping[int, Said]


def read_samples(sheet: RunSheet, run: Run, task: str) -> list[Sample]:
    """All test samples of a task, in the order of its rows.

    Raises:
        InputError: a file is missing, or files do not belong together.
    """
    scores = sheet.path.parent / artefact("sample_scores").path
    files = [run.file(name, task) for name in ("test_rows", "routes", "predictions")]
    for file in (*files, scores):
        if not file.exists():
            raise InputError(f"{file}: missing; run {run.name} to its end.")
    rows = artifacts.read_table("data", files[0], ["sample_id", "turns", "references"])
    texts = {
        (row["sample_id"], tuple(row["experts"])): row["text"]
        for row in artifacts.read_table("predictions", files[2]).to_pylist()
    }
    scored = _scores(scores, run, task)
    steps: dict[str, dict[int, Said]] = {}
    columns = ["sample_id", "step", "experts"]
    for row in artifacts.read_table("routes", files[1], columns).to_pylist():
        name, step, experts = (row[column] for column in columns)
        text, found = texts.get((name, tuple(experts))), scored.get((name, step))
        if text is None or found is None:
            lacking = "answer" if text is None else "score"
            raise InputError(
                f"{files[1]}: sample {name!r} has no {lacking} after step {step}; "
                "run predict and score again."
            )
        steps.setdefault(name, {})[step] = Said(text, experts, found["score"], found["parsed"])
    return [
        Sample(
            row["sample_id"],
            row["turns"][-1]["question"],
            row["references"],
            steps.get(row["sample_id"], {}),
        )
        for row in rows.to_pylist()
    ]


def _scores(path: Any, run: Run, task: str) -> dict[tuple[str, int], dict[str, Any]]:
    mine = [("run", "=", run.name), ("seed", "=", run.seed), ("task", "=", task)]
    columns = ["sample_id", "step", "score", "parsed"]
    table = artifacts.read_table("sample_scores", path, columns, mine)
    return {(row["sample_id"], row["step"]): row for row in table.to_pylist()}


# --- what became of a sample --------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A sample's answers before its task was learnt, right after, and at the end."""

    task: str
    before: Said
    own: Said
    last: Said


WHERE: dict[str, tuple[str, Callable[[Course], bool]]] = {
    "kept": (
        "have a score after their task was learnt, and no lower one at the end",
        lambda c: 0 < c.own.score <= c.last.score,
    ),
    "forgotten": (
        "have a lower score at the end than after their task was learnt",
        lambda c: c.last.score < c.own.score,
    ),
    "learnt": (
        "have a higher score after their task was learnt than just before",
        lambda c: c.own.score > c.before.score,
    ),
    "misrouted": (
        "get another expert than their task's first at the end",
        lambda c: c.last.experts[:1] != [c.task],
    ),
    "unparsed": (
        "have an answer at the end that could not be read",
        lambda c: not c.last.parsed,
    ),
}
"""What a person can look for: what such samples do, and whether one does."""


def find_samples(sheet: RunSheet, run: Run, task: str, where: str) -> tuple[list[Sample], int]:
    """The samples of a task of which one of ``WHERE`` holds, and how many it has in all.

    Raises:
        InputError: no such task, as :func:`read_samples`, or routing of a run without routers.
    """
    if task not in run.tasks:
        raise unknown("task", task, run.tasks, f"{sheet.path}: {run.name}")
    if where not in kinds_of(run):
        raise InputError(f"{run.name} has no routers, so no sample can be misrouted.")
    samples = read_samples(sheet, run, task)
    return [sample for sample in samples if where in what_became(sample, run, task)], len(samples)


def kinds_of(run: Run) -> list[str]:
    """What samples of a run can be: without routers none is misrouted."""
    return [kind for kind in WHERE if kind != "misrouted" or "router" in run.artefacts]


def what_became(sample: Sample, run: Run, task: str) -> list[str]:
    """The kinds of ``WHERE`` that hold of a sample of the task."""
    course = course_of(sample, run, task)
    return [kind for kind in kinds_of(run) if WHERE[kind][1](course)]


def course_of(sample: Sample, run: Run, task: str) -> Course:
    """The course of a sample of the task; some methods do not answer after every step.

    Raises:
        InputError: no answer before or after its task was learnt.
    """
    number = run.tasks.index(task) + 1
    before = [step for step in sample.steps if step < number]
    after = [step for step in sample.steps if step >= number]
    if not before or not after:
        raise InputError(
            f"sample {sample.sample_id!r} of {task} has no answer "
            f"{'after' if before else 'before'} its task was learnt; run predict again."
        )
    said = sample.steps
    return Course(task, said[max(before)], said[min(after)], said[max(after)])

"""What a finished model consists of, and where it lies in the results of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stages.core.base import artifacts
from stages.core.base.config import slice_config, with_variant
from stages.core.base.errors import InputError, unknown
from stages.core.experts.weighing import parent_beside
from stages.core.model.questions import Picture, question_row
from stages.core.runs.run_sheet import Run, RunSheet
from stages.methods import registry as methods
from stages.methods.base import Method

if TYPE_CHECKING:
    from stages.core.dmole.routers import Router

Question = tuple[Picture, str] | tuple[Picture, str, str | None]  # image, text, task if told

KEYS = ("backbone", "features", "image", "prediction", "routing", "max_pixels")
"""What answering depends on, of a configuration."""


@dataclass
class Source:
    """The parts of a model; those of single tasks are looked up when a step needs them."""

    place: str  # how errors call it
    run: str  # the method or variant
    method: Method
    seed: int
    tasks: list[str]  # in the order in which they were learnt
    config: dict[str, Any]  # its ``KEYS``
    limits: dict[str, dict[str, int]]  # by task, length of an answer in tokens
    states: dict[str, Path]

    lacks: ClassVar[str] = (
        "not finished, because the {name} of {task} is missing: {path}. Run it to its end, or ask "
        "for an earlier step."
    )

    @property
    def routed(self) -> bool:
        """Whether routers decide who answers."""
        return self.method.routing == "threshold"

    @property
    def uses_parents(self) -> bool:
        """Whether the best expert's parent answers beside it."""
        return self.routed and self.config["routing"]["second"] == "parent"

    def steps(self, task: str | None) -> dict[int, list[str]]:
        """The steps after which a task (None: not told) can be answered, each with all states
        that may take part.

        Raises:
            InputError: the method must be told the task.
        """
        if self.routed:
            return {step: self.tasks[:step] for step in range(len(self.tasks) + 1)}
        if self.method.knows_task and task is None:
            raise InputError(
                f"{self.run} is told the task of every question; say which of "
                f"{', '.join(self.tasks)} this is."
            )
        asked = task or self.tasks[-1]
        found = {t: self.method.active(t, asked, self.tasks) for t in range(len(self.tasks) + 1)}
        return {step: states for step, states in found.items() if states is not None}

    def active(self, task: str | None, step: int | None) -> list[str]:
        """The states that answer a question of a task under static routing.

        Args:
            task: None: not told.
            step: None: the last one after which the task can be answered.

        Raises:
            InputError: the method must be told the task, or has no state for it at the step.
        """
        found = self.steps(task)
        if step is not None and step not in found:
            raise InputError(
                f"{self.run} answers {task or 'questions'} after the steps "
                f"{', '.join(map(str, found))}, not after step {step}."
            )
        return found[max(found) if step is None else step]

    def rows(self, questions: Iterable[Question]) -> tuple[list[dict[str, Any]], list[str | None]]:
        """Questions as rows of the data artefact, named by their number, and their tasks.

        Raises:
            InputError: as :func:`question_row`, or an unknown task.
        """
        rows, tasks = [], []
        limit, exif = self.config["max_pixels"], self.config["image"]["exif"] == "apply"
        for number, (image, text, *told) in enumerate(questions, 1):
            rows.append(question_row(image, text, str(number), limit, exif=exif))
            tasks.append(told[0] if told else None)
            if tasks[-1] not in (None, *self.tasks):
                raise unknown("task", str(tasks[-1]), self.tasks, f"question {number}")
        return rows, tasks

    def check(self, step: int | None) -> None:
        """That everything is there that answering after a step needs.

        Raises:
            InputError: no such step, or a part that is missing.
        """
        if step is not None and not 0 <= step <= len(self.tasks):
            raise InputError(
                f"{self.place}: no step {step}; its steps are 0 to {len(self.tasks)}, "
                "0 being the untouched backbone."
            )
        for name, task, path in self.needed(step):
            if not path.exists():
                told = self.lacks.format(name=name, task=task, path=path)
                raise InputError(f"{self.place}: {told}")

    def needed(self, step: int | None) -> list[tuple[str, str, Path]]:
        """Artefact, task and path of all that answering after a step reads."""
        rows = [self.steps(task) for task in self.tasks]
        used = [row.get(max(row) if step is None else step, []) for row in rows]
        names = [task for task in self.tasks if any(task in states for states in used)]
        return [("expert", name, self.states[name]) for name in names if name in self.states]

    @property
    def backbone(self) -> str:
        """Folder or name of the backbone."""
        return self.config["backbone"]["path"]

    def router(self, task: str) -> tuple[Router, float]:
        """The router of a task and its threshold."""
        raise NotImplementedError

    def parent(self, task: str) -> str | None:
        """The earlier task beside whose expert a task's learnt."""
        raise NotImplementedError


class RunSource(Source):
    """The model of a run, from its artefacts."""

    def __init__(self, sheet: RunSheet, run: Run) -> None:
        """Read what the run sheet says.

        Raises:
            InputError: the test rows of a task are missing.
        """
        self.files = run
        limits = {task: _limits(run.file("test_rows", task)) for task in run.tasks}
        super().__init__(
            place=f"{run.name}, seed {run.seed}, of {sheet.path}",
            run=run.name,
            method=methods.load(run.method),
            seed=run.seed,
            tasks=run.tasks,
            config=slice_config(with_variant(sheet.config, run.name), *KEYS),
            limits=limits,
            states=run.artefacts.get("expert", {}),
        )
        accept = with_variant(sheet.config, run.name)["transfer"].get("accept", "always")
        self.weighed = accept == "lower_loss"  # training says who has a parent

    def needed(self, step: int | None) -> list[tuple[str, str, Path]]:
        names = ["router", "router_weights"] if self.routed else []
        names += ["transfer"] if self.uses_parents else []
        routing = [(n, t, self.files.file(n, t)) for t in self.tasks[:step] for n in names]
        return routing + super().needed(step)

    def router(self, task: str) -> tuple[Router, float]:
        from stages.core.dmole import routers

        model = routers.load(self.files.file("router_weights", task))
        found = artifacts.read_json("router", self.files.file("router", task))
        for of in (model.task, found["task"]):
            if of != task:
                raise unknown("router", of, [task], str(self.files.file("router", task)))
        return model, found["threshold"]

    def parent(self, task: str) -> str | None:
        if self.weighed:
            return parent_beside(self.files.file("expert", task), task)
        return artifacts.read_json("transfer", self.files.file("transfer", task))["parent"]


def _limits(rows: Path) -> dict[str, int]:
    if not rows.exists():
        raise InputError(f"{rows}: not finished, because these test rows are missing.")
    task = artifacts.task_record(rows)
    return {key: task[key] for key in ("max_new_tokens", "min_new_tokens")}

"""Joint training: one LoRA on the union of all tasks' rows, the reference without a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.methods.base import Method

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.experts.job import Job
    from stages.core.experts.lora import ExpertModel
    from stages.methods.base import Run


class Joint(Method):
    """One job, that of the last task; only the last row of the matrix exists, and row 0."""

    label = "Joint training"
    earlier_data = "all rows"

    def trained_tasks(self, tasks: list[str]) -> list[str]:
        return tasks[-1:]

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return []

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        if step == 0:
            return []
        return tasks[-1:] if step == len(tasks) else None

    def reads_data(self, task: str, tasks: list[str]) -> list[str]:
        return tasks[: tasks.index(task) + 1]

    def rows(self, data: dict[str, Dataset], job: Job) -> Dataset:
        from datasets import concatenate_datasets

        return concatenate_datasets([data[task] for task in job.tasks])

    def fit(self, model: ExpertModel, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        # ASSUME: exceptions of single tasks (training.per_task) do not apply to the union,
        # least of all those of the task that happens to be the last.
        general = {key: v for key, v in job.config["training"].items() if key != "per_task"}
        return run(model.model, lambda batch: self.loss(model, batch), rows, **general)


METHOD = Joint

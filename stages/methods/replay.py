"""Sequential LoRA that also rehearses a few stored rows of every earlier task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stages.core.base.sampling import pick
from stages.methods.base import Method

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.experts.job import Job


class Replay(Method):
    """The store of a task is a uniform sample of its rows, the same in all later tasks."""

    label = "Replay"
    earlier_data = "some rows"

    options = {
        "samples": {
            "description": "Rows kept of every earlier task.",
            "type": "integer",
            "minimum": 1,
            "default": 100,
        }
    }

    def reads_data(self, task: str, tasks: list[str]) -> list[str]:
        return tasks[: tasks.index(task) + 1]

    def rows(self, data: dict[str, Dataset], job: Job) -> Dataset:
        """The task's rows and the stores of the tasks before it."""
        from datasets import concatenate_datasets

        count = self.option(job, "samples")
        stores = [
            data[task].select(pick(len(data[task]), count, job.seed, f"{task} replay"))
            for task in job.tasks[: job.tasks.index(job.task)]
        ]
        return concatenate_datasets([data[job.task], *stores])


METHOD = Replay

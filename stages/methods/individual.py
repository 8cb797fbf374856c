"""A fresh LoRA per task, from the backbone, scored on its own task: the upper reference."""

from stages.methods.base import Method


class Individual(Method):
    """Only the diagonal of the matrix exists, and the pretrained row."""

    label = "Individual"
    knows_task = True

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return []

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        if step == 0:
            return []
        return [task] if tasks[step - 1] == task else None


METHOD = Individual

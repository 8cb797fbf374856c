"""The pretrained backbone, never trained."""

from stages.methods.base import Method


class ZeroShot(Method):
    """No training job; the backbone answers at every step."""

    label = "Zero-shot"

    def trained_tasks(self, tasks: list[str]) -> list[str]:
        return []

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        return []


METHOD = ZeroShot

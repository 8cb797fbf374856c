"""D-MoLE without routers: its experts on the slots of the allocation, all of them always active.

The gate of Eq. 2 is 1 for every earlier expert, in training and at test; there is no parent. With
``allocation.strategy: uniform`` this is ablation v4 of Ge et al.
ASSUME: the paper says "without task-specific routing" and not what answers instead.
"""

from stages.methods.dmole import DMoLE


class Unrouted(DMoLE):
    """The sum of all experts so far."""

    label = "D-MoLE unrouted"
    needs = frozenset({"allocation"})
    routing = "static"

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        return tasks[: tasks.index(task)]

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        return tasks[:step]


METHOD = Unrouted

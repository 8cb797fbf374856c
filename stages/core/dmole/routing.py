"""Which experts answer a sample, from its reconstruction losses alone (paper, Eqs. 10-12).

Decided sample by sample: a vote over a batch would leak the task and change with the batch size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.base.errors import unknown

SECOND = ("rank", "parent", "none")


@dataclass(frozen=True)
class Route:
    """The decision for one sample at one step."""

    experts: list[str]  # tasks whose experts are active, best first; [] = the backbone alone
    best_task: str | None  # task with the lowest ratio; None before the first task
    ratio: float | None  # its loss / threshold
    n_under: int  # routers with a loss at or under their threshold


@dataclass(frozen=True)
class Rule:
    """How a run decides: by thresholds (scaled, tasks in stream order) and a second expert."""

    thresholds: Mapping[str, float]
    second: str = "rank"
    parents: Mapping[str, str | None] | None = None

    @classmethod
    def of(
        cls,
        thresholds: Mapping[str, float],
        routing: Mapping[str, Any],
        parents: Mapping[str, str | None] | None = None,
    ) -> "Rule":
        """Under the config key ``routing``; its ``threshold_scale`` multiplies the thresholds."""
        scaled = {task: value * routing["threshold_scale"] for task, value in thresholds.items()}
        return cls(scaled, routing["second"], parents)

    def routes(self, losses: np.ndarray, step: int) -> list[Route]:
        """Routes after ``step`` tasks, from losses ``(samples, tasks)`` as in :func:`decide`."""
        tasks, scaled = list(self.thresholds)[:step], np.array(list(self.thresholds.values()))
        return decide(losses[:, :step], scaled[:step], tasks, self.second, self.parents)

    def ratios(self, losses: np.ndarray) -> list[dict[str, float]]:
        """Loss / threshold by task, of every row of ``losses``, whose columns may be fewer."""
        shares = losses / np.array(list(self.thresholds.values()))[: losses.shape[1]]
        return [dict(zip(self.thresholds, row, strict=False)) for row in shares.tolist()]


def decide(
    losses: np.ndarray,
    thresholds: np.ndarray,
    tasks: Sequence[str],
    second: str = "rank",
    parents: Mapping[str, str | None] | None = None,
) -> list[Route]:
    """Route samples at the step after the last of ``tasks``.

    Args:
        losses: (samples, tasks), the loss under each task's router.
        thresholds: (tasks,), all above 0.
        tasks: names in stream order; ties of losses go to the earlier one.
        second: partner of the best expert: ``rank`` the second lowest loss under its threshold
            (the paper), ``parent`` the expert it was trained beside, ``none`` nobody.
        parents: transfer parent of each task, for ``second == "parent"``.

    Raises:
        InputError: unknown ``second``.
    """
    if second not in SECOND:
        raise unknown("partner", second, SECOND, "routing.second")
    return [_route(row, thresholds, tasks, second, parents or {}) for row in losses]


def _route(
    row: np.ndarray,
    thresholds: np.ndarray,
    tasks: Sequence[str],
    second: str,
    parents: Mapping[str, str | None],
) -> Route:
    if not tasks:
        return Route([], None, None, 0)
    kept = [tasks[k] for k in np.argsort(row, kind="stable") if row[k] <= thresholds[k]]
    ratios = row / thresholds
    closest = int(np.argmin(ratios))
    experts = kept[: 2 if second == "rank" else 1]
    if second == "parent" and kept and parents[kept[0]] is not None:
        experts.append(parents[kept[0]])
    return Route(experts, tasks[closest], float(ratios[closest]), len(kept))

"""Routes of two tasks over two steps, written out."""

import math

import numpy as np

from stages.core.evaluation.routing_quality import Routed

TASKS = ["a", "b"]


def routed(task: str, rows: list[tuple[int, list[str], str | None, float]]) -> Routed:
    """Routes of a task from (step, experts, best task, ratio) rows."""
    active: dict = {}
    for step, experts, *_ in rows:
        for name in experts:
            active[step, name] = active.get((step, name), 0) + 1
    return Routed(
        step=np.array([row[0] for row in rows]),
        own_nearest=np.array([row[2] == task for row in rows]),
        own_first=np.array([row[1][:1] == [task] for row in rows]),
        rejected=np.array([not row[1] for row in rows]),
        ratio=np.array([row[3] for row in rows]),
        active=active,
    )


NAN = math.nan
RUN = {
    "a": routed(
        "a",
        [
            (0, [], None, NAN),
            (0, [], None, NAN),
            (1, ["a"], "a", 0.5),
            (1, [], "a", 2.0),
            (2, ["a", "b"], "a", 0.5),
            (2, ["b"], "b", 0.9),
        ],
    ),
    "b": routed(
        "b",
        [
            (0, [], None, NAN),
            (0, [], None, NAN),
            (1, [], "a", 2.0),
            (1, [], "a", 3.0),
            (2, ["b"], "b", 0.4),
            (2, [], "b", 1.5),
        ],
    ),
}

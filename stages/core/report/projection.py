"""Picture: the feature rows of all tasks in one plane (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from stages.core.report.svg import Canvas, Scale, around, shortened, x_axis, y_axis

COLOURS = ("blue", "orange", "green", "accent", "pink", "sky", "brown", "grey")
SIDE = 480.0  # pixels of the plane
LEFT, TOP = 56.0, 34.0


def draw(
    places: Mapping[str, np.ndarray], shares: np.ndarray, label: Callable[[str], str] = str
) -> Canvas:
    """A dot per row in its task's colour, and the task's number at the mean of its rows.

    Args:
        places: ``(n, 2)`` by task, in the order of the stream.
        shares: of each axis of the whole variance.
    """
    every = np.concatenate(list(places.values()))
    right, bottom = LEFT + SIDE, TOP + SIDE
    across = Scale(*around(every[:, 0].tolist()), LEFT, right)
    up = Scale(*around(every[:, 1].tolist()), bottom, TOP)
    canvas = Canvas(right + 220, bottom + 40)
    x_axis(canvas, across, TOP, bottom, f"first component, {shares[0]:.0%} of the variance")
    y_axis(canvas, up, LEFT, right, f"second component, {shares[1]:.0%} of the variance")
    for number, (task, rows) in enumerate(places.items()):
        kind = COLOURS[number % len(COLOURS)]
        for x, y in rows:
            canvas.dot(across(x), up(y), f"{kind} half", radius=2.5)
        line = TOP + 12 + 20 * number
        canvas.dot(right + 24, line, kind)
        canvas.text(right + 34, line, shortened(f"{number + 1} · {label(task)}"), "small", tip=task)
    for number, rows in enumerate(places.values()):  # above the dots of all tasks
        x, y = rows.mean(axis=0)
        canvas.text(across(x), up(y), str(number + 1), "bold", "middle")
    return canvas

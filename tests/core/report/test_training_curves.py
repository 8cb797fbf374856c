"""Curves of trainings: means over seeds, thinned, one panel a task."""

from stages.core.report.training import POINTS, curves, draw, thinned
from stages.core.runs.results import Results, Scope


def results() -> Results:
    found = Results(config={}, tasks=["a", "b"], scores=[], metrics={})
    found.trainings = {
        Scope(0, "dmole"): {"a": {"loss": [[10, 4.0], [20, 2.0]], "gradient_norm": [[10, 0.0]]}},
        Scope(1, "dmole"): {"a": {"loss": [[10, 2.0], [20, 1.0]]}, "b": {}},
        Scope(0, "ewc"): {"a": {"loss": [[10, 1.0]]}, "b": {"loss": [[5, 7.0]]}},
    }
    return found


def test_curves_are_means_over_seeds() -> None:
    assert curves(results(), "loss") == {
        "a": {"dmole": [(10, 3.0), (20, 1.5)], "ewc": [(10, 1.0)]},
        "b": {"ewc": [(5, 7.0)]},
    }
    assert curves(results(), "gradient_norm") == {"a": {"dmole": [(10, 0.0)]}, "b": {}}


def test_long_curves_are_thinned_to_means() -> None:
    long = [(float(step), step % 2) for step in range(1, 4 * POINTS + 1)]
    short = thinned(long)
    assert len(short) == POINTS and short[0] == (4.0, 0.5) and short[-1][0] == 4 * POINTS
    assert thinned(long[:3]) == long[:3]


def test_panels_are_drawn_for_trained_tasks_alone() -> None:
    kinds = {"dmole": "accent", "ewc": "pale"}
    drawn = draw(curves(results(), "gradient_norm"), kinds, lambda task: f"task {task}")
    text = drawn.markup("x")
    assert "task a" in text and "task b" not in text  # a value of 0: a linear axis
    assert "<title>dmole</title>" in text

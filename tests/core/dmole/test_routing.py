"""Routes of hand-made loss tables."""

import numpy as np
import pytest

from stages.core.base.errors import InputError
from stages.core.dmole.routing import decide

TASKS = ["a", "b", "c"]


def experts(row: list[float], thresholds: list[float], **options) -> list[str]:
    return decide(np.array([row]), np.array(thresholds), TASKS, **options)[0].experts


@pytest.mark.parametrize(
    ("row", "thresholds", "expected"),
    [
        ([2, 2, 2], [1, 1, 1], []),  # none under its threshold
        ([2, 0.5, 2], [1, 1, 1], ["b"]),  # one
        ([0.9, 2, 0.5], [1, 1, 1], ["c", "a"]),  # two, best first
        ([0.9, 0.1, 0.5], [1, 1, 1], ["b", "c"]),  # three: the two lowest losses
        ([0.5, 0.5, 0.5], [1, 1, 1], ["a", "b"]),  # ties by stream order
        ([0.6, 0.5, 0.5], [1, 1, 1], ["b", "c"]),
        ([1, 2, 2], [1, 1, 1], ["a"]),  # a loss equal to the threshold passes
        ([0.1, 0.2, 0.3], [0.05, 1, 1], ["b", "c"]),  # the lowest loss, but over its threshold
        ([0.8, 0.2, 3], [8, 0.4, 1], ["b", "a"]),  # by loss, though a has the lower ratio
    ],
)
def test_two_lowest_losses_under_their_thresholds(
    row: list[float], thresholds: list[float], expected: list[str]
) -> None:
    assert experts(row, thresholds) == expected


def test_what_a_route_says_beside_its_experts() -> None:
    losses = np.array([[0.8, 0.2, 3.0], [4.0, 4.0, 2.0]])
    under, over = decide(losses, np.array([8.0, 0.4, 1.0]), TASKS)
    assert (under.best_task, under.ratio, under.n_under) == ("a", pytest.approx(0.1), 2)
    assert (over.best_task, over.ratio, over.n_under) == ("a", 0.5, 1)
    rejected = decide(losses, np.array([0.1, 0.1, 0.1]), TASKS)[1]
    assert (rejected.experts, rejected.best_task, rejected.n_under) == ([], "c", 0)
    assert rejected.ratio == pytest.approx(20)


def test_before_the_first_task_the_backbone_answers() -> None:
    routes = decide(np.empty((2, 0)), np.empty(0), [])
    assert [vars(route) for route in routes] == [
        {"experts": [], "best_task": None, "ratio": None, "n_under": 0}
    ] * 2


class TestSecond:
    parents = {"a": None, "b": "a", "c": "a"}

    def test_none_takes_the_best_alone(self) -> None:
        assert experts([0.9, 0.1, 0.5], [1, 1, 1], second="none") == ["b"]

    def test_parent_takes_the_partner_of_training(self) -> None:
        found = experts([9, 0.4, 0.1], [1, 1, 1], second="parent", parents=self.parents)
        assert found == ["c", "a"]  # though a is over its threshold and b is not

    def test_a_task_without_parent_stays_alone(self) -> None:
        found = experts([0.1, 0.4, 0.5], [1, 1, 1], second="parent", parents=self.parents)
        assert found == ["a"]

    def test_no_expert_no_parent(self) -> None:
        assert experts([2, 2, 2], [1, 1, 1], second="parent", parents=self.parents) == []

    def test_unknown(self) -> None:
        with pytest.raises(InputError, match="routing.second.*Did you mean 'parent'"):
            experts([1, 1, 1], [1, 1, 1], second="parents")


def test_a_route_does_not_depend_on_the_batch() -> None:
    losses = np.random.default_rng(0).uniform(0, 2, (50, 3))
    thresholds = np.array([1.0, 0.9, 1.1])
    together = decide(losses, thresholds, TASKS)
    assert together == [decide(row[None], thresholds, TASKS)[0] for row in losses]
    assert {len(route.experts) for route in together} == {0, 1, 2}


def test_routing_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, stages.core.dmole.routing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

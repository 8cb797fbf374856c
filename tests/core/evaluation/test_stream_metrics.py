"""Continual-learning metrics against published tables and hand computations."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from stages.core.base.errors import InputError
from stages.core.evaluation.stream_metrics import FORMULAS, continual_metrics, over_seeds

NAN = math.nan
TABLE2 = Path(__file__).parents[3] / "workflow" / "report" / "published" / "cmit.csv"

# Rows: pretrained, then after task 1, 2, 3. Small integers, so every term can be done by hand.
HAND = np.array(
    [
        [10.0, 20.0, 30.0],
        [50.0, 26.0, 33.0],
        [44.0, 60.0, 36.0],
        [47.0, 51.0, 80.0],
    ]
)
TASKS = ("a", "b", "c")
EXPECTED = {
    # column means 47, 137/3, 149/3
    "avg": ((47 + 137 / 3 + 149 / 3) / 3, {"a": 47.0, "b": 137 / 3, "c": 149 / 3}),
    "last": (178 / 3, {"a": 47.0, "b": 51.0, "c": 80.0}),
    # a: ((44-50) + (47-50)) / 2, b: 51-60
    "bwt_dmole": (-6.75, {"a": -4.5, "b": -9.0}),
    "bwt": (-6.0, {"a": -3.0, "b": -9.0}),
    "bwt_n": (-4.0, {"a": -3.0, "b": -9.0}),
    "mft": (190 / 3, {"a": 50.0, "b": 60.0, "c": 80.0}),
    # steps: 50, (44+60)/2, (47+51+80)/3
    "maa": ((50 + 52 + 178 / 3) / 3, {"1": 50.0, "2": 52.0, "3": 178 / 3}),
    # b: 26-20, c: 36-30
    "fwt": (6.0, {"b": 6.0, "c": 6.0}),
    # a: max(50, 44)-47, b: 60-51
    "forgetting": (6.0, {"a": 3.0, "b": 9.0}),
}


def terms(metric: dict) -> dict:
    return metric.get("per_task") or metric.get("per_step") or {}


def triangle(*rows: list[float]) -> tuple[np.ndarray, list[str]]:
    """A published lower triangle as a full matrix with unmeasured cells."""
    n = len(rows)
    matrix = np.full((n + 1, n), NAN)
    for t, row in enumerate(rows, start=1):
        matrix[t, : len(row)] = row
    return matrix, [f"task{i}" for i in range(1, n + 1)]


@pytest.mark.parametrize("key", EXPECTED)
def test_hand_computed(key):
    value, per = EXPECTED[key]
    metric = continual_metrics(HAND, TASKS)[key]
    assert metric["value"] == pytest.approx(value, abs=1e-12)
    assert terms(metric) == pytest.approx(per, abs=1e-12)
    assert metric["missing"] == []


def test_every_formula_has_a_hand_case():
    assert set(EXPECTED) == set(FORMULAS)


def test_forgetting_takes_the_best_earlier_score():
    matrix = HAND.copy()
    matrix[2, 0] = 59.0  # task a is best after step 2, not after its own
    assert continual_metrics(matrix, TASKS)["forgetting"]["per_task"]["a"] == 12.0


def test_scores_above_one_hundred_are_kept():
    assert continual_metrics(HAND * 3, TASKS)["mft"]["value"] == pytest.approx(190)


def test_ucit_published_table():
    matrix, tasks = triangle(
        [91.73],
        [90.40, 94.23],
        [89.37, 94.07, 61.37],
        [87.07, 94.10, 57.40, 86.00],
        [87.37, 94.27, 56.70, 78.73, 79.70],
        [86.67, 94.00, 58.71, 79.03, 64.33, 58.20],
    )
    found = continual_metrics(matrix, tasks)
    published = {"maa": 83.27, "last": 73.49, "mft": 78.54, "bwt": -6.06}
    assert {key: found[key]["value"] for key in published} == pytest.approx(published, abs=0.0051)
    assert found["avg"]["value"] is None and found["fwt"]["value"] is None


def test_coin_with_replay_published_table():
    matrix, tasks = triangle(
        [73.26], [72.86, 39.03], [73.52, 57.56, 4.02], [74.13, 55.91, 55.19, 37.90]
    )
    found = continual_metrics(matrix, tasks)
    published = {"maa": 57.5057, "last": 55.7834, "bwt_n": 17.2306, "bwt": 22.9741}
    assert {key: found[key]["value"] for key in published} == pytest.approx(published, abs=1e-3)


@pytest.mark.parametrize(
    ("metric", "key"), [("AVG", "avg"), ("Last", "last"), ("BWT", "bwt_dmole")]
)
def test_dmole_table_2_averages(metric, key):
    """A matrix whose terms are the printed ones gives the printed Average."""
    with TABLE2.open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == metric]
    assert len(rows) == 8
    for row in rows:
        cells = [float(row[task]) for task in list(row)[2:11] if row[task]]
        tasks = [f"task{i}" for i in range(1, 10)]
        matrix = np.zeros((10, 9))
        for i, cell in enumerate(cells):
            if key == "bwt_dmole":
                matrix[i + 2 :, i] = cell  # every later step lies this far from A[i,i] = 0
            else:
                matrix[1:, i] = cell
        found = continual_metrics(matrix, tasks)[key]
        assert list(found["per_task"].values()) == pytest.approx(cells)
        assert found["value"] == pytest.approx(float(row["Average"]), abs=0.01)


NEEDED = {  # the cells (step, task) of a three-task matrix that each formula reads
    "avg": {(t, i) for t in (1, 2, 3) for i in (1, 2, 3)},
    "last": {(3, 1), (3, 2), (3, 3)},
    "bwt_dmole": {(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)},
    "bwt": {(1, 1), (3, 1), (2, 2), (3, 2)},
    "bwt_n": {(1, 1), (3, 1), (2, 2), (3, 2)},
    "mft": {(1, 1), (2, 2), (3, 3)},
    "maa": {(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)},
    "fwt": {(1, 2), (0, 2), (2, 3), (0, 3)},
    "forgetting": {(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)},
}


@pytest.mark.parametrize("key", NEEDED)
def test_one_missing_cell_at_a_time(key):
    """A metric is missing exactly when a cell it reads is, and names that cell."""
    for step in range(4):
        for task in (1, 2, 3):
            matrix = HAND.copy()
            matrix[step, task - 1] = NAN
            metric = continual_metrics(matrix, TASKS)[key]
            if (step, task) in NEEDED[key]:
                assert metric["value"] is None
                assert metric["missing"] == [{"step": step, "task": TASKS[task - 1]}]
            else:
                assert metric["value"] == pytest.approx(EXPECTED[key][0], abs=1e-12)
                assert metric["missing"] == []


def test_terms_of_complete_tasks_stay_when_another_lacks_a_cell():
    matrix = HAND.copy()
    matrix[2, 0] = NAN
    metric = continual_metrics(matrix, TASKS)["bwt_dmole"]
    assert metric["per_task"] == {"a": None, "b": -9.0}
    assert metric["value"] is None


def test_all_missing_cells_are_named_in_order():
    matrix = np.full((4, 3), NAN)
    missing = continual_metrics(matrix, TASKS)["fwt"]["missing"]
    assert [(c["step"], c["task"]) for c in missing] == [(0, "b"), (0, "c"), (1, "b"), (2, "c")]


def test_a_single_task_has_no_transfer_but_has_scores():
    found = continual_metrics(np.array([[5.0], [9.0]]), ["only"])
    values = {key: metric["value"] for key, metric in found.items()}
    assert {k for k, v in values.items() if v is None} == {
        "bwt_dmole", "bwt", "bwt_n", "fwt", "forgetting",
    }  # fmt: skip
    assert values["avg"] == values["last"] == values["mft"] == values["maa"] == 9.0


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (0, 0)])
def test_wrong_shapes_are_input_errors(shape):
    with pytest.raises(InputError, match="score matrix of shape"):
        continual_metrics(np.zeros(shape), TASKS if shape != (0, 0) else [])


def test_infinite_cells_are_input_errors():
    matrix = HAND.copy()
    matrix[1, 1] = np.inf
    with pytest.raises(InputError, match="infinite"):
        continual_metrics(matrix, TASKS)


def test_over_seeds():
    """Sample standard deviation of 1, 2, 6 is sqrt((4 + 1 + 9) / 2)."""
    seeds = [{"last": {"value": v}, "fwt": {"value": w}} for v, w in ((1, 5), (2, None), (6, 5))]
    found = over_seeds(seeds)
    assert found["last"] == pytest.approx({"mean": 3.0, "std": math.sqrt(7)})
    assert found["fwt"] == {"mean": None, "std": None}
    assert over_seeds(seeds[:1])["last"] == {"mean": 1.0, "std": None}

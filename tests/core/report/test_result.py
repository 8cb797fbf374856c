"""The first screen: the curve, the interval of one seed, and the sentence of the result."""

from typing import Any

import pytest

from stages.core.base.config import complete
from stages.core.costs.comparison import curve, last_over_samples
from stages.core.report.result import kinds_of, section, sentence
from stages.core.runs.results import Results

MINIMAL = {"stream": "s", "manifests": "m", "tasks": ["a", "b"], "backbone": {"path": "p"}}
SCORES = {  # value by seed, step and task
    0: {(1, "a"): 40, (1, "b"): 10, (2, "a"): 20, (2, "b"): 60},
    1: {(1, "a"): 50, (1, "b"): 10, (2, "a"): 30, (2, "b"): 70},
}


def results(seeds: tuple[int, ...]) -> Results:
    rows = [
        {"method": "dmole", "seed": seed, "step": step, "task": task, "value": value,
         "low": value - 3, "high": value + 3 + 2 * (task == "b")}
        for seed in seeds
        for (step, task), value in SCORES[seed].items()
    ]  # fmt: skip
    config = complete({**MINIMAL, "seeds": list(seeds)}, "test")
    return Results(config=config, tasks=["a", "b"], scores=rows, metrics={})


def test_the_curve_averages_over_the_tasks_learnt_so_far() -> None:
    found = curve(results((0, 1)), "dmole")
    assert [point["mean"] for point in found] == [45, 45]  # (40 + 50) / 2, (40 + 50) / 2
    # two seeds 10 apart: standard deviation 7.071, half the interval 12.706 x 7.071 / sqrt(2)
    assert [point["half_width"] for point in found] == pytest.approx([63.53, 63.53], abs=0.01)
    assert curve(results((0,)), "dmole") == [
        {"mean": 40, "half_width": None},
        {"mean": 40, "half_width": None},
    ]


def test_a_cell_that_is_missing_leaves_a_gap() -> None:
    run = results((0,))
    run.scores = [row for row in run.scores if row["step"] == 2]
    assert [point["mean"] for point in curve(run, "dmole")] == [None, 40]
    run.scores = run.scores[:1]
    assert [point["mean"] for point in curve(run, "dmole")] == [None, None]
    assert last_over_samples(run, "dmole") is None


def test_the_interval_over_samples_joins_those_of_the_tasks() -> None:
    # halves of 3 and 4 points, of independent samples: sqrt(9 + 16) / 2 tasks
    assert last_over_samples(results((0, 1)), "dmole") == 2.5


def entry(name: str, last: float | None, half: float | None, forgetting: float | None) -> dict:
    metrics = {"last": {"mean": last, "half_width": half}}
    metrics["forgetting"] = {"mean": forgetting, "half_width": None}
    curve = [{"mean": last, "half_width": None}] * 2
    plain = {"name": name, "label": name.upper(), "metrics": metrics, "curve": curve}
    return plain | {"last_over_samples": 1.5}


def content(*methods: dict, seeds: int = 3) -> dict[str, Any]:
    found = {"tasks": ["a", "b"], "seeds": list(range(seeds)), "reference": "dmole"}
    return found | {"methods": list(methods)}


METHODS = [
    entry("zero_shot", 20, 0, 0),
    entry("joint", 80, 1, None),
    entry("dmole", 60, 2, 1),
    entry("ewc", 61, 4, 0.25),
    entry("lwf", 40, 1, 30),
    entry("individual", None, None, None),
]


def test_the_sentence_names_the_best_its_equals_the_reference_and_the_bounds() -> None:
    assert sentence(content(*METHODS)) == (
        "EWC ends highest: 61.0 ± 4.0 on average over the 2 tasks after the last one (95% interval "
        "over 3 seeds), forgetting 0.2. Within its interval: DMOLE. DMOLE is number 2 of 3 "
        "with 60.0 ± 2.0. For comparison: training on all tasks at once 80.0 ± 1.0, the untouched "
        "backbone 20.0 ± 0.0."
    )
    one = sentence(content(entry("dmole", 60, None, None), seeds=1))
    assert "60.0 ± 1.5 on average" in one and "over test samples" in one
    assert sentence(content(METHODS[0])).startswith("No continual learner")


def test_methods_come_before_variants_when_colours_are_given() -> None:
    names = ["x2", "x10", "joint", "dmole", "ewc"]
    kinds = kinds_of([entry(name, 1, None, None) for name in names], "dmole", ["x2", "x10"])
    assert kinds == {
        "x2": "green", "x10": "orange", "joint": "grey dashed", "dmole": "accent", "ewc": "blue",
    }  # fmt: skip


def test_every_method_that_ended_has_a_dot() -> None:
    run = results((0,))
    run.comparison = content(*METHODS)
    dots, curves = section(run).blocks[0].pictures
    drawn = dots.markup()
    assert all(f"{m['label']}: {m['metrics']['last']['mean']:.1f}" in drawn for m in METHODS[:5])
    assert "INDIVIDUAL" not in drawn and "INDIVIDUAL" not in curves.markup()

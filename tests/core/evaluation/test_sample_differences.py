"""Differences by test sample, against scipy's own tests where they are of the same kind."""

import numpy as np
import pytest
from scipy import stats

from stages.core.base.artifacts import write_table
from stages.core.evaluation.last_samples import read_last_samples
from stages.core.evaluation.paired import by_sample

RANDOM = np.random.default_rng(0)


def test_one_task_and_one_seed_is_the_paired_t_test():
    mine, other = RANDOM.normal(5, 3, 30), RANDOM.normal(3, 3, 30)
    found = by_sample({"a": (mine - other)[:, None]})
    expected = stats.ttest_rel(mine, other)
    low, high = expected.confidence_interval()
    assert found.mean == pytest.approx((mine - other).mean())
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)
    assert found.p_tasks == 1.0  # one task says nothing of others


def test_two_tasks_are_welchs_test():
    # the mean of a and b differs from 0 as a differs from -b
    a, b = RANDOM.normal(1, 2, 12), RANDOM.normal(2, 5, 40)
    found = by_sample({"a": a[:, None], "b": b[:, None]})
    assert found.p == pytest.approx(stats.ttest_ind(a, -b, equal_var=False).pvalue)
    assert found.mean == pytest.approx((a.mean() + b.mean()) / 2)


def test_rows_that_agree_leave_the_variance_of_the_seeds():
    seeds = np.array([4.0, 6.0, 11.0])
    differences = {task: np.tile(seeds + shift, (20, 1)) for task, shift in (("a", -1), ("b", 1))}
    found = by_sample(differences)
    expected = stats.ttest_1samp(seeds, 0.0)
    assert (found.mean, found.p) == (pytest.approx(7.0), pytest.approx(expected.pvalue))
    assert found.mean + found.half_width == pytest.approx(expected.confidence_interval().high)


def test_seeds_of_a_row_are_no_further_rows():
    rows = RANDOM.normal(1, 2, 25)
    once, thrice = by_sample({"a": rows[:, None]}), by_sample({"a": np.tile(rows[:, None], 3)})
    assert thrice.half_width == pytest.approx(once.half_width)


def test_the_smallest_detectable_difference_is_found_in_four_of_five_experiments():
    # 400 rows of standard deviation 10: the standard error is 0.5, its power curve the normal one
    rows = RANDOM.normal(0, 1, 400)
    rows = (rows - rows.mean()) / rows.std(ddof=1) * 10
    detectable = by_sample({"a": rows[:, None]}).detectable
    power = stats.norm.sf(stats.norm.ppf(0.975) - detectable / 0.5)
    assert power == pytest.approx(0.8, abs=0.002)


def test_equal_answers_differ_by_nothing():
    found = by_sample({"a": np.zeros((5, 2)), "b": np.zeros((4, 2))})
    assert (found.mean, found.half_width, found.p, found.detectable) == (0, 0, 1, 0)
    assert by_sample({"a": np.full((5, 1), 3.0)}).p == 0.0


def test_scores_are_those_after_the_last_step_of_a_run(tmp_path):
    rows = [
        {"run": run, "seed": seed, "step": step, "task": task, "sample_id": sample}
        | {"score": 100.0 * step + 10 * seed + k, "parsed": True, "experts": []}
        for run, task, steps in (("x", "a", (0, 1, 2)), ("x", "b", (0, 1, 2)), ("own", "a", (0, 1)))
        for seed in (0, 1)
        for step in steps
        for k, sample in enumerate(("p", "q"))
    ]
    write_table("sample_scores", tmp_path / "samples.parquet", rows)
    scores = [{"method": row["run"], "task": row["task"], "step": row["step"]} for row in rows]
    found = read_last_samples(tmp_path / "samples.parquet", scores)
    assert set(found) == {("x", "a"), ("x", "b"), ("own", "a")}
    assert found["x", "b"].loc["q"].to_dict() == {0: 201.0, 1: 211.0}
    assert found["own", "a"].loc["p"].to_dict() == {0: 100.0, 1: 110.0}

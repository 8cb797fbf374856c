"""Replay: which stored rows are rehearsed."""

from dataclasses import replace

import pytest
from datasets import Dataset

from stages.core.experts.job import Job
from stages.methods import registry as methods
from tests.helpers import battery

TASKS = ["a", "b", "c"]


@pytest.fixture
def data():
    """Ids that tell the task: a0..a39, b0..b39, c0..c39."""
    return {task: Dataset.from_dict({"sample_id": ids(task, 40)}) for task in TASKS}


def ids(task, count):
    return [f"{task}{i}" for i in range(count)]


def trained_on(data, task, seed=0, samples=5):
    so_far = TASKS[: TASKS.index(task) + 1]
    settings = battery.config({"replay": {"samples": samples}})
    job = Job(task, so_far, settings, [], None, None)
    method = methods.load("replay")
    assert method.reads_data(task, TASKS) == so_far
    rows = {name: data[name] for name in so_far}
    return method.rows(rows, replace(job, seed=seed))["sample_id"][:]


def test_own_rows_and_so_many_of_every_earlier_task(data):
    assert trained_on(data, "a") == ids("a", 40)
    rows = trained_on(data, "c")
    assert rows[:40] == ids("c", 40)
    assert [row[0] for row in rows[40:]] == ["a"] * 5 + ["b"] * 5
    assert len(set(rows)) == 50


def test_a_store_stays_the_same_and_follows_the_seed(data):
    of_a = set(trained_on(data, "b")[40:])
    assert of_a == set(trained_on(data, "c")[40:45])
    assert of_a != set(trained_on(data, "b", seed=1)[40:])
    assert {int(row[1:]) for row in of_a} != {int(row[1:]) for row in trained_on(data, "c")[45:]}


def test_a_small_task_is_kept_whole(data):
    assert trained_on(data, "b", samples=100) == ids("b", 40) + ids("a", 40)


def test_every_row_is_as_likely(data):
    """200 seeds x 5 of 40 rows: each 25 times on average, sd 4.7."""
    counts = dict.fromkeys(ids("a", 40), 0)
    for seed in range(200):
        for row in trained_on(data, "b", seed=seed)[40:]:
            counts[row] += 1
    assert all(8 < count < 45 for count in counts.values())

"""Choices of rows, and lists of faults."""

from collections import Counter

import pytest

from stages.core.base.sampling import pick, subset_size
from stages.core.data.faults import FaultList, RowError


@pytest.mark.parametrize(
    ("total", "fraction", "least", "size"),
    [
        (10_000, 0.01, 64, 100),
        (600, 0.01, 64, 64),
        (50, 0.01, 64, 50),
        (150, 0.01, 0, 2),  # 1.5
        (149, 0.01, 0, 1),
        (7, 1.0, 0, 7),
        (20_523, 0.01, 64, 205),
        (0, 0.5, 64, 0),
    ],
)
def test_subset_size(total, fraction, least, size):
    assert subset_size(total, fraction, least) == size


def test_a_pick_is_ascending_without_repeats_and_depends_on_seed_and_name():
    first = pick(1000, 50, 0, "a/subset")
    assert first == sorted(set(first))
    assert len(first) == 50
    assert first[0] >= 0 and first[-1] < 1000
    assert first == pick(1000, 50, 0, "a/subset")
    assert len({tuple(first), *(tuple(pick(1000, 50, s, n)) for s, n in [(1, "a"), (0, "b")])}) == 3
    assert pick(5, 9, 0, "a") == [0, 1, 2, 3, 4]


def test_a_pick_is_uniform():
    counts = Counter(i for seed in range(4000) for i in pick(10, 3, seed, "a"))
    # Each position is chosen with probability 0.3: mean 1200, standard deviation 29.
    assert all(abs(counts[i] - 1200) < 5 * 29 for i in range(10))


def test_a_pick_leaves_the_global_generators_alone():
    import random

    random.seed(3)
    expected = random.random()
    random.seed(3)
    pick(100, 10, 0, "a")
    assert random.random() == expected


def test_a_fault_list_keeps_twenty_and_counts_all():
    told = []
    faults = FaultList(tell=told.append)
    for i in range(25):
        faults.add(f"rows.jsonl:{i}", RowError("bad box" if i % 5 else "not UTF-8", f"no. {i}"))
    text = str(faults.error("task"))
    assert len(told) == 25
    assert text.startswith("task: 25 faults (bad box: 20, not UTF-8: 5); nothing was written.")
    assert "rows.jsonl:19: bad box: no. 19" in text
    assert "rows.jsonl:20" not in text
    assert "and 5 more" in text

"""Task metrics over rows, and the bootstrap interval."""

import math
from pathlib import Path

import numpy as np
import pytest

from stages.core.base.errors import InputError
from stages.core.evaluation.scores import (
    METRICS,
    bootstrap_interval,
    make_scorer,
    metric_label,
    report_targets,
    summarise,
    targets_that_fail,
)


def row(references=("x",), choices=None, box=None):
    return {"references": list(references), "choices": choices, "box": box}


AT_LEAST = {"name": "iou", "threshold": 0.5, "inclusive": True}
BEYOND_A_QUARTER = {"name": "iou", "threshold": 0.25}
TEN = ["red"] * 2 + ["dark red"] * 8


@pytest.mark.parametrize(
    ("metric", "gold", "text", "expected"),
    [
        ("accuracy", row(["two", "2 dogs"]), "The 2 dogs.", (100.0, True)),
        ("accuracy", row(["two"]), "three", (0.0, True)),
        ("vqa_accuracy", row(TEN), "Red", (60.0, True)),
        ("vqa_accuracy", row(TEN), "dark red", (100.0, True)),
        ("vqa_accuracy", row(["red"] * 10), "Red", (0.0, True)),  # all agree: as written
        ("textvqa", row(["red"] * 10), "Red", (100.0, True)),
        ("soft_accuracy", row(["red"] * 10), "\uff32ed", (100.0, True)),
        ("soft_accuracy", row(TEN), "Red", (60.0, True)),
        ("choice", row(["B"], ["cat", "dog"]), "B. dog", (100.0, True)),
        ("choice", row(["B"], ["cat", "dog"]), "Dog", (100.0, True)),
        ("choice", row(["B"], ["cat", "dog"]), "A", (0.0, True)),
        ("choice", row(["B"], ["cat", "dog"]), "C", (0.0, False)),
        # gold 0..0.5 wide: a box of the full width overlaps by exactly one half
        ("iou", row(box=[0.0, 0.0, 0.5, 1.0]), "<box>[[0,0,1000,1000]]</box>", (0.0, True)),
        ("iou", row(box=[0.0, 0.0, 0.5, 1.0]), "<box>[[0,0,999,1000]]</box>", (100.0, True)),
        ("iou", row(box=[0.0, 0.0, 0.5, 1.0]), "<box>[[9,9,9,9]]</box>", (0.0, False)),
        ("iou", row(box=[0.0, 0.0, 0.5, 1.0]), "left", (0.0, False)),
        (AT_LEAST, row(box=[0.0, 0.0, 0.5, 1.0]), "[0,0,1000,1000]", (100.0, True)),
        (AT_LEAST, row(box=[0.0, 0.0, 0.499, 1.0]), "[0,0,1000,1000]", (0.0, True)),
        (BEYOND_A_QUARTER, row(box=[0.0, 0.0, 0.25, 1.0]), "[0,0,1000,1000]", (0.0, True)),
        (BEYOND_A_QUARTER, row(box=[0.0, 0.0, 0.3, 1.0]), "[0,0,1000,1000]", (100.0, True)),
        (AT_LEAST, row(box=[0.1, 0.1, 0.3, 0.5]), "[100,100,300,300]", (100.0, True)),
        ("iou", row(box=[0.1, 0.1, 0.3, 0.5]), "[100,100,300,300]", (0.0, True)),
        ({"name": "accuracy"}, row(["two"]), "2", (100.0, True)),
        ("exact", row(["The dog"]), " the Dog ", (100.0, True)),
        ("exact", row(["the dog"]), "dog", (0.0, True)),
        ("choice", row(["C"], ["yes", "no", "yes"]), "A", (100.0, True)),  # the same answer
        ("choice", row(["B"], ["x", "X"]), "A", (0.0, True)),
        ("accuracy", row(["A"]), "", (0.0, True)),
        ("accuracy", row(["the"]), ".", (0.0, True)),
        ("accuracy", row(["?"]), "!", (0.0, True)),
        ("accuracy", row(["\u662f"]), "\u662f\u3002", (100.0, True)),
    ],
)
def test_scorers(metric, gold, text, expected):
    assert make_scorer(metric, {"s": gold})("s", text) == pytest.approx(expected)


def test_captions_score_cider_times_one_hundred():
    scorer = make_scorer("cider", {"a": row(["a red dog runs"]), "b": row(["one blue cat sits"])})
    assert scorer("a", "a red dog runs") == pytest.approx((1000.0, True))
    assert scorer("a", "") == (0.0, True)


@pytest.mark.parametrize(
    ("metric", "rows", "words"),
    [
        ("ciderr", {"s": row()}, "unknown metric 'ciderr'. Did you mean 'cider'"),
        ("accuracy", {}, "no test rows"),
        ("accuracy", {"s7": row([])}, "sample 's7': no gold answers"),
        ("vqa_accuracy", {"s7": row(["x"] * 9)}, "sample 's7'.*10 annotators' answers, found 9"),
        ("textvqa", {"s7": row(["x"] * 11)}, "sample 's7'.*10 annotators' answers, found 11"),
        ("choice", {"s7": row(["B"])}, "sample 's7'.*needs the options"),
        ("choice", {"s7": row(["C"], ["cat", "dog"])}, "sample 's7'.*answer 'C'"),
        ("choice", {"s7": row(["dog"], ["cat", "dog"])}, "sample 's7'.*answer 'dog'"),
        ("choice", {"s7": row(["AB"], ["cat", "dog"])}, "sample 's7'.*answer 'AB'"),
        ("iou", {"s7": row()}, "sample 's7'.*needs a gold box"),
        ("iou", {"s7": row(box=[0.1, 0.1, 0.1, 0.5])}, "sample 's7'.*needs a gold box"),
    ],
)
def test_gold_that_does_not_fit_is_an_input_error(metric, rows, words):
    with pytest.raises(InputError, match=words):
        make_scorer(metric, rows)


def trained(target, *args, **kwargs):
    return {**row(*args, **kwargs), "turns": [{"question": "q", "answer": target}]}


@pytest.mark.parametrize(
    ("metric", "rows", "failing"),
    [
        ("choice", {"s": trained("A", ["B"], ["B", "A", "C"])}, []),
        ("choice", {"s": trained("C", ["A"], ["C", "B", "A"])}, []),
        ("choice", {"s": trained("X", ["B"], ["x", "X"])}, []),
        ("choice", {"s": trained("yes", ["C"], ["yes", "no", "yes"])}, []),
        ("choice", {"s": trained("yes.", ["C"], ["Yes", "no", "yes."])}, []),
        ("choice", {"s": trained("a b", ["B"], ["a  b", "a b"])}, []),
        ("choice", {"s": trained("cat", ["B"], ["cat", "dog"])}, ["s"]),
        ("accuracy", {"s": trained("?", ["?"]), "t": trained("no", ["yes"])}, ["t"]),
        ("iou", {"s": trained("<box>[[0,0,1,1]]</box>", box=[0, 0, 0.001, 0.001])}, ["s"]),
        ("vqa_accuracy", {"s": trained("red", ["red"] + list("bcdefghij"))}, ["s"]),
        (
            "cider",
            {
                "same": trained("a red dog runs", ["a dog", "a red dog runs"]),
                "close": trained("a red dog runs", ["a red dog walks"]),
                "everywhere": trained("a red dog", ["a red dog"]),
                "empty": trained("", ["a cat"]),
            },
            ["close", "empty"],
        ),
        ({"name": "cider"}, {"s": trained(" a dog ", ["a dog"])}, []),
    ],
)
def test_training_targets_that_cannot_be_right_are_named(metric, rows, failing):
    assert targets_that_fail(metric, rows) == failing


def test_the_report_counts_and_names_rows(capsys):
    rows = {f"test/{i}": trained("no", ["yes"]) for i in range(7)} | {"ok": trained("a", ["a"])}
    report_targets("accuracy", rows)
    said = capsys.readouterr().out
    assert "7 of 8 rows" in said and "test/0, test/1, test/2, test/3, test/4, ..." in said
    report_targets("accuracy", {"ok": trained("a", ["a"])})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("iou", "iou"),
        ({"name": "cider"}, "cider"),
        (AT_LEAST, "iou >= 0.5"),
        (BEYOND_A_QUARTER, "iou > 0.25"),
        ({"name": "iou", "inclusive": True}, "iou >= 0.5"),
    ],
)
def test_tables_tell_the_options(metric, label):
    assert metric_label(metric) == label


def test_manifests_name_exactly_these_metrics():
    from stages.core.base.config import schema

    allowed = schema("manifest")["properties"]["metric"]["properties"]["name"]["enum"]
    assert sorted(allowed) == sorted(METRICS)


def test_the_manual_tells_of_every_metric():
    manual = (Path(__file__).parents[3] / "data_manifests/README.md").read_text()
    assert {name for name in METRICS if f"| `{name}` |" not in manual} == set()


def test_summary_counts_and_averages():
    score = summarise(
        np.array([100.0, 0.0, 30.0, 70.0]),
        np.array([True, False, False, True]),
        resamples=50,
        seed=0,
    )
    assert (score.value, score.n, score.n_unparsed) == (50.0, 4, 2)
    assert 0.0 <= score.low <= 50.0 <= score.high <= 100.0


def test_interval_depends_on_the_seed_alone():
    scores = np.random.default_rng(0).normal(size=300)
    first = bootstrap_interval(scores, 200, seed=5)
    assert bootstrap_interval(scores, 200, seed=5) == first
    assert bootstrap_interval(scores[::-1], 200, seed=5) == first
    assert bootstrap_interval(scores, 200, seed=6) != first


@pytest.mark.parametrize("value", [0.0, 100.0, 33.3])
def test_constant_scores_have_a_point_as_interval(value):
    assert bootstrap_interval(np.full(7, value), 100, seed=0) == (value, value)


def test_one_sample_has_a_point_as_interval():
    assert bootstrap_interval(np.array([60.0]), 100, seed=0) == (60.0, 60.0)


def test_interval_of_a_proportion_is_the_binomial_one():
    """2000 answers, 30 % right: the ends lie 1.96 standard errors from the mean, +- 10 %."""
    scores = np.r_[np.full(600, 100.0), np.zeros(1400)]
    low, high = bootstrap_interval(scores, 5000, seed=1)
    half = 1.96 * 100 * math.sqrt(0.3 * 0.7 / 2000)
    assert low == pytest.approx(30 - half, abs=0.1 * half)
    assert high == pytest.approx(30 + half, abs=0.1 * half)


def test_interval_of_a_mean_is_the_normal_one():
    """Many scores that all differ: 1.96 standard errors to both sides, +- 10 %."""
    scores = np.random.default_rng(2).exponential(size=2000)
    low, high = bootstrap_interval(scores, 5000, seed=3)
    half = 1.96 * scores.std() / math.sqrt(2000)
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


def test_interval_covers_the_true_mean_about_nineteen_times_in_twenty():
    rng = np.random.default_rng(4)
    hits = 0
    for trial in range(300):
        low, high = bootstrap_interval(100.0 * (rng.random(200) < 0.4), 400, seed=trial)
        hits += low <= 40.0 <= high
    assert 0.90 <= hits / 300 <= 0.99

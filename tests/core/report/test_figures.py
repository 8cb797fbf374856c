"""The numbers behind the report's tables and pictures, against hand computations."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from stages.core.base.config import PRESETS, complete
from stages.core.base.errors import InputError
from stages.core.report import activation, evolution, losses, metrics, parameters, tree
from stages.core.report.overview import differences
from stages.core.report.runtimes import readable
from stages.core.report.sensitivity import relative_scores
from stages.core.report.slot_grid import slot_arrays
from stages.core.report.style import INKS, LEVELS, css, level_of
from stages.core.report.svg import Canvas, Scale, around
from stages.core.runs.results import Results, Scope
from tests.helpers.routing import NAN, RUN, TASKS, routed

MINIMAL = {"stream": "s", "manifests": "m", "tasks": ["a"], "backbone": {"path": "p"}}


def test_activation_frequencies():
    first = activation.frequencies([RUN], TASKS, 1)
    np.testing.assert_array_equal(first, [[0.5, NAN, 0.5], [0.0, NAN, 1.0]])
    last = activation.frequencies([RUN], TASKS, 2)
    np.testing.assert_array_equal(last, [[0.5, 1.0, 0.0], [0.0, 0.5, 0.5]])


def test_activation_frequencies_are_a_mean_over_seeds_and_skip_absent_tasks():
    other = {"a": routed("a", [(2, ["a"], "a", 0.1), (2, ["a"], "a", 0.1)])}
    both = activation.frequencies([RUN, other], TASKS, 2)
    np.testing.assert_allclose(both, [[0.75, 0.5, 0.0], [0.0, 0.5, 0.5]])


def test_ratios_split_at_the_stage_of_the_task():
    found = losses.ratios(RUN, TASKS)
    assert found["a"]["unseen"].size == 0
    assert sorted(found["a"]["seen"]) == [0.5, 0.5, 0.9, 2.0]
    assert sorted(found["b"]["unseen"]) == [2.0, 3.0]
    assert sorted(found["b"]["seen"]) == [0.4, 1.5]


def test_quantiles_of_a_ramp():
    found = losses.quantiles(np.arange(101.0))
    assert found == {"min": 0, "p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "max": 100}


def test_a_short_logarithmic_axis_has_more_than_one_tick():
    assert Scale(1.4, 2.6, 0, 1, log=True).ticks(3) == pytest.approx([1.5, 2.0, 2.5])
    assert Scale(0.9, 2.6, 0, 1, log=True).ticks(3) == [1.0, 2.0]


def router(**medians: float | None) -> dict:
    sums = {name: None if value is None else {"p50": value} for name, value in medians.items()}
    rule = {"quantile_value": 1.0, "factor": 1.7, "quantile": 0.95, "method": "leave_one_out"}
    return {"n": 64, "losses": sums, "calibration": rule, "threshold": 1.7}


def test_thresholds_without_fitted_losses_have_no_such_column():
    """Neighbours have losses of rows left out alone; an autoencoder's may be small numbers."""
    near = losses._threshold_table({"a": router(in_fold=None, out_of_fold=0.552)}, "seed 0", str)
    assert near.head == ["Task", "Rows", "Median out of fold", "Quantile", "Threshold"]
    assert near.rows == [["a", "64", "0.552", "1", "1.7"]]
    both = losses._threshold_table({"a": router(in_fold=1e-5, out_of_fold=0.5)}, "seed 0", str)
    assert both.head[2:4] == ["Median in fold", "Median out of fold"]
    assert both.rows[0][2:4] == ["1e-05", "0.5"]


def slot(module: str, block: int, kind: str, **fields) -> dict:
    return {"tower": module, "block": block, "slot": kind, **fields}


def test_slot_arrays_leave_absent_slots_empty():
    rows = {
        "a": [slot("llm", 0, "o", x=1.0), slot("vision", 0, "o", x=2.0)],
        "b": [slot("llm", 1, "o", x=3.0)],
    }
    grid = slot_arrays(rows, "x")
    assert list(grid) == [("vision", "o"), ("llm", "o")]
    np.testing.assert_array_equal(grid["llm", "o"], [[1.0, NAN], [NAN, 3.0]])
    np.testing.assert_array_equal(grid["vision", "o"], [[2.0], [NAN]])


def test_sensitivity_is_relative_to_the_largest_of_task_and_module():
    rows = {
        "a": [
            slot("vision", 0, "qkv", score=4.0),
            slot("vision", 0, "o", score=1.0),
            slot("llm", 0, "qkv", score=0.0),
        ],
        "b": [
            slot("vision", 0, "qkv", score=1.0),
            slot("vision", 0, "o", score=2.0),
            slot("llm", 0, "qkv", score=5.0),
        ],
    }
    found = relative_scores(rows)
    np.testing.assert_array_equal(found["vision", "qkv"], [[1.0], [0.5]])
    np.testing.assert_array_equal(found["vision", "o"], [[0.25], [1.0]])
    np.testing.assert_array_equal(found["llm", "qkv"], [[0.0], [1.0]])


def test_experts_are_counted_from_the_slots_not_from_the_budget():
    allocation = {
        "towers": {"vision": {"budget": 5}, "llm": {"budget": 5}},
        "slots": [
            slot("vision", 0, "qkv", allocated=True),
            slot("vision", 0, "o", allocated=False),
            slot("llm", 0, "o", allocated=True),
            slot("llm", 1, "o", allocated=True),
        ],
    }
    assert evolution.experts(allocation, "vision") == 1
    assert evolution.experts(allocation, "llm") == 2


def transfers(**parents: str | None) -> dict:
    return {
        task: {"parent": parent, "losses": {parent: 0.5} if parent else {}}
        for task, parent in parents.items()
    }


def test_tree_is_walked_depth_first_in_stream_order():
    found = tree.walk(transfers(a=None, b="a", c="a", d="b", e=None, f="d"))
    assert found == [("a", 0), ("b", 1), ("d", 2), ("f", 3), ("c", 1), ("e", 0)]


@pytest.mark.parametrize("parent", ["b", "c", "nobody"])
def test_tree_refuses_a_parent_that_is_not_earlier(parent):
    with pytest.raises(InputError, match=f"'b'.*parent '{parent}'.*earlier"):
        tree.walk(transfers(a=None, b=parent, c=None))


def test_interval_over_seeds_uses_students_t():
    # Tabulated 0.975 quantiles: 4.3027 for 2 degrees of freedom, 12.7062 for 1.
    assert metrics.half_width(1.0, 3) == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert metrics.half_width(2.0, 2) == pytest.approx(2 * 12.7062 / math.sqrt(2), abs=1e-3)


def training(**counts: list[int]) -> Results:
    """Results with trained parameters per method and seed, one task."""
    found = Results(config={}, tasks=["a"], scores=[], metrics={})
    found.trainings = {
        Scope(seed, method): {"a": {"trainable_parameters": n}}
        for method, listed in counts.items()
        for seed, n in enumerate(listed)
    }
    return found


def test_unequal_parameter_counts_are_remarked_on():
    note, fold = parameters.section(training(big=[106, 106], small=[99, 101])).blocks
    (table,) = fold.blocks
    assert [[cell.text for cell in row] for row in table.cells()] == [
        ["big", "106", "106"],
        ["small", "100", "100"],
    ]
    assert "big trains 6.0% more" in note.text and "not a comparison" in note.text


def test_parameter_counts_within_the_tolerance():
    note, _ = parameters.section(training(big=[105], small=[100])).blocks
    assert "within 5.0%" in note.text


def test_no_difference_from_the_papers_preset():
    assert differences(complete({**MINIMAL, "preset": "paper"}, "test")) == []


def test_differences_from_the_papers_preset_name_key_and_both_values():
    changed = {"preset": "paper", "budget": {"ratio": 0.25}, "routing": {"second": "none"}}
    changed["training"] = {"per_task": {"a": {"epochs": 5}}}
    assert differences(complete({**MINIMAL, **changed}, "test")) == [
        ("budget.ratio", 0.25, 0.5),
        ("routing.second", "none", "rank"),
        ("training.per_task", None, {}),
        ("training.per_task.a.epochs", 5, None),
    ]


def test_differences_of_the_reference_code_are_its_preset():
    found = differences(complete({**MINIMAL, "preset": "reference_code"}, "test"))
    own = PRESETS["reference_code"].items() - PRESETS["paper"].items()
    assert {key: here for key, here, _ in found} == dict(own)


@pytest.mark.parametrize(
    ("text", "scope"),
    [("seed3", Scope(3)), ("seed0/dmole", Scope(0, "dmole")), ("", None), ("half", None)],
)
def test_scope_of_a_place(text, scope):
    assert Scope.parse(text) == scope


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.234, "1.23 s"), (99, "99 s"), (150, "2.5 min"), (7200, "2 h")]
)
def test_readable_times(seconds, text):
    assert readable(seconds) == text


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two hex colours (WCAG 2.1)."""
    light = []
    for colour in (first, second):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_colours_of_values_are_legible_and_grow_darker():
    assert all(contrast(*pair) >= 4.5 for pair in zip(LEVELS, INKS, strict=True))
    towards_black = [contrast(colour, "#000000") for colour in LEVELS]
    assert towards_black == sorted(towards_black, reverse=True)
    levels = [level_of(share) for share in (-0.03, 0, 0.5, 1, 1.4)]
    assert levels == [0, 0, 10, 20, 20] and len(LEVELS) == 21


def test_on_a_dark_page_the_scale_is_turned_round():
    light, dark = css().split("@media (prefers-color-scheme: dark)")
    assert f"--h0: {LEVELS[0]}; --i0: {INKS[0]};" in light
    assert f"--h0: {LEVELS[20]}; --i0: {INKS[20]};" in dark and f"--h20: {LEVELS[0]};" in dark


def labelled(text: str) -> Canvas:
    canvas = Canvas(20, 10)
    canvas.text(1, 2, text, tip=text)
    canvas.rect(0, 0, 1, 1, "blue", text)
    return canvas


def test_pictures_are_parts_of_a_page_and_files():
    assert labelled("x").markup("y") == labelled("x").markup("y") != labelled("z").markup("y")
    file = ElementTree.fromstring(labelled("x").file("A label"))
    assert file.tag == "{http://www.w3.org/2000/svg}svg" and file.get("aria-label") == "A label"


def test_labels_are_text_never_markup():
    hostile = """</text><script>alert(1)</script>" onload='x'"""
    for text in (labelled(hostile).markup(hostile), labelled(hostile).file(hostile)):
        svg = ElementTree.fromstring(text)
        assert {element.tag.rpartition("}")[2] for element in svg.iter()} <= {
            *("svg", "style", "rect", "text", "title")
        }
        assert svg.get("aria-label") == hostile and svg.get("onload") is None
        assert [e.text for e in svg.iter() if e.tag.endswith("title")] == [hostile, hostile]


def test_scales_and_their_ticks():
    scale = Scale(0, 10, 100, 200)
    assert [scale(v) for v in (0, 2.5, 10, 11)] == [100, 125, 200, 200]
    assert scale.ticks() == [0, 2, 4, 6, 8, 10]
    assert Scale(-3, 4, 0, 1).ticks(4) == [-2, 0, 2, 4]
    log = Scale(1, 100, 0, 200, log=True)
    assert [log(v) for v in (1, 10, 0)] == pytest.approx([0, 100, 0])
    assert log.ticks(9) == pytest.approx([1, 2, 5, 10, 20, 50, 100])
    assert log.ticks(2) == pytest.approx([1, 10, 100])


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0, 20], (0, 21)),
        ([-10, 10], (-11, 11)),
        ([], (0, 1.05)),
        ([0, 0], (0, 1)),
        ([5], (4.5, 5.5)),
    ],
)
def test_room_around_values(values, limits):
    assert around(values) == pytest.approx(limits)

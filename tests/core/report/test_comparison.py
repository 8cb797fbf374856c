"""The comparison of methods: paired tests, costs and Markdown, against hand computations."""

import csv
import math
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
import pytest

from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.costs.comparison import (
    KEYS,
    by_sample_of,
    last_without_captions,
    published,
    sources,
)
from stages.core.costs.measured import comparable, costs_of, kept_states, remarks
from stages.core.evaluation.paired import difference, sign_flip_test
from stages.core.report.differences import by_sample as by_sample_table
from stages.core.report.markdown import markdown
from stages.core.report.page import Cell, Definitions, Section, Table
from stages.core.report.ranking import marks, ranked
from stages.core.report.svg import spread
from stages.core.runs.results import Results, Scope, read_published
from stages.methods import registry as methods

TASKS = ["a", "b", "c"]


def results(**inputs) -> Results:
    """A run of four names and two seeds: a variant that trains, and one that shares training."""
    config = complete(
        {
            "stream": "s",
            "manifests": "m",
            "tasks": TASKS,
            "backbone": {"path": "p"},
            "methods": ["dmole", "half", "alone", "seq_ft"],
            "variants": {
                "half": {"method": "dmole", "set": {"budget.ratio": 0.25}},
                "alone": {"method": "dmole", "set": {"routing.second": "none"}},
            },
        },
        "test",
    )
    scores = [{"method": m, "seed": s} for m in config["methods"] for s in (0, 1)]
    return Results(config, TASKS, scores, {}, **inputs)


def trained(count: int, stored: int) -> dict[str, dict]:
    return {task: {"trainable_parameters": count, "stored_parameters": stored} for task in TASKS}


# --- differences -----------------------------------------------------------------------------


def test_all_patterns_of_signs_are_counted():
    # |mean| of (3, 2, 1) is reached by + + + and - - -, of 8 patterns
    assert sign_flip_test([3.0, 2.0, 1.0]) == pytest.approx(2 / 8)
    # (3, -1, 1): sums over the patterns are ±5, ±3, ±3, ±1; six of eight are at least 3
    assert sign_flip_test([3.0, -1.0, 1.0]) == pytest.approx(6 / 8)
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([3.0]) == 1.0  # + and -


def runs_of(values: dict[str, list[list[float]]]) -> list[dict]:
    """Runs with one metric from {method: [per-task values of each seed]}."""
    return [
        {
            "method": method,
            "seed": seed,
            "metrics": {
                "last": {"value": fmean(row), "per_task": dict(zip(TASKS, row, strict=True))}
            },
        }
        for method, rows in values.items()
        for seed, row in enumerate(rows)
    ]


def test_a_difference_is_paired_by_seed_and_by_task():
    runs = runs_of({"x": [[10, 20, 30], [16, 26, 33]], "dmole": [[40, 41, 42], [43, 44, 45]]})
    found = difference(runs, "x", "dmole", "last")
    by_seed = [20 - 41, 25 - 44]
    assert found.mean == pytest.approx(fmean(by_seed))
    assert found.spread == pytest.approx(12.7062047 * stdev(by_seed) / math.sqrt(2))  # t, 1 degree
    assert (found.p, found.n_tasks) == (0.25, 3)  # three tasks, all lower


def test_a_metric_that_a_run_lacks_has_no_difference():
    runs = runs_of({"x": [[1, 2, 3]], "dmole": [[1, 2, 3]]})
    runs[0]["metrics"]["last"]["value"] = None
    assert difference(runs, "x", "dmole", "last") is None
    assert difference(runs[1:], "x", "dmole", "last") is None


# --- costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("seq_ft", ["c"]),
        ("joint", ["c"]),
        ("dense_mole", ["c"]),
        ("prog_lora_static", ["c"]),
        ("o_lora", TASKS),
        ("individual", TASKS),
        ("dmole", TASKS),
    ],
)
def test_states_that_must_be_kept(name, kept):
    assert kept_states(methods.load(name), TASKS) == kept


def test_costs_are_those_of_the_jobs_that_a_run_uses():
    run = results(
        trainings={
            Scope(0, "dmole"): trained(100, 110),
            Scope(1, "dmole"): trained(200, 110),
            Scope(0, "half"): trained(60, 61),
            Scope(0, "seq_ft"): trained(150, 150),
        },
        routers={Scope(0): {task: {"numbers": 52} for task in TASKS}},
        benchmarks={
            "train_expert": [
                {"seconds": 5.0, "scope": Scope(0, "dmole")},
                {"seconds": 7.0, "scope": Scope(0, "dmole")},
                {"seconds": 9.0, "scope": Scope(0, "half")},
            ],
            **dict.fromkeys(
                ["profile_gradients", "extract_features", "fit_router"],
                [{"seconds": 2.0, "scope": Scope(0)}, {"seconds": 1.0, "scope": None}],
            ),
        },
    )
    routers = 3 * 52  # three tasks
    dmole, half, alone, seq_ft = (costs_of(run, name) for name in run.config["methods"])
    assert (dmole.per_task, dmole.in_all, dmole.stored) == (150, 450, 330 + routers)
    assert (dmole.training, dmole.preparation) == (12, 6)
    assert alone.per_task == 150 and alone.training == 12  # its experts are dmole's
    assert (half.per_task, half.training) == (60, 9)
    assert (seq_ft.per_task, seq_ft.stored, seq_ft.preparation) == (150, 150, 0)
    assert seq_ft.training is None  # no benchmark files
    assert costs_of(run, "made_by_hand").per_task is None


def test_a_count_that_is_off_is_remarked_and_compared_only_for_a_reason():
    trainings = {
        Scope(0, "dmole"): trained(100, 1),
        Scope(0, "half"): trained(50, 1),
        Scope(0, "seq_ft"): trained(106, 1),
    }
    run = results(trainings=trainings)
    run.config["match_size"] = "slots"
    costs = {name: costs_of(run, name) for name in run.config["methods"]}
    noted = remarks(costs, "dmole")
    assert set(noted) == {"half", "seq_ft"}
    assert noted["half"].startswith("-50 % trainable parameters a task. Its own switches")
    assert "no comparison at equal size" in noted["seq_ft"]
    assert comparable(costs, "dmole") == {"dmole", "half", "alone"}


def test_a_method_that_trains_on_keeps_the_size_of_the_first_task():
    """D-MoLE's experts have 100 and twice 90 parameters, so sequential LoRA has 100."""
    first, *others = TASKS
    sizes = trained(90, 1) | {first: {"trainable_parameters": 100, "stored_parameters": 1}}
    trainings = {Scope(0, "dmole"): sizes, Scope(0, "seq_ft"): trained(100, 1)}
    run = results(trainings=trainings)
    costs = {name: costs_of(run, name) for name in ("dmole", "seq_ft")}
    assert "+7 % trainable parameters a task. What it trains" in remarks(costs, "dmole")["seq_ft"]
    assert comparable(costs, "dmole") == {"dmole", "seq_ft"}


# --- what is shown ------------------------------------------------------------------------------


def test_published_numbers_stand_in_columns_of_their_own():
    tasks = dict.fromkeys(TASKS, "50")
    row = {"metric": "AVG", "method": "O-LoRA", **tasks, "Average": "58.79"}
    reference = {"metric": "reference", "method": "Zero-shot", **tasks, "Average": "46.62"}
    run = results(published=[row, reference])
    shown = {
        (name, key): published(run, name, key)
        for name in ("o_lora", "zero_shot", "replay")
        for key in KEYS
    }
    assert {place: text for place, text in shown.items() if text} == {
        ("o_lora", "avg"): "58.79",
        ("zero_shot", "last"): "46.62",
    }


def published_table(folder, **changes):
    """A published table of one row, and a backbone of the kind internvl."""
    row = {"metric": "Last", "method": "MoELoRA", **dict.fromkeys(TASKS, "52")}
    row |= {"Average": "52.06", "backbone": "internvl"}
    row |= {"source": "Some paper", "differs": "Its prompts."} | changes
    (folder / "t.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    (folder / "config.json").write_text('{"model_type": "internvl"}')
    return folder / "t.csv"


def test_published_numbers_are_of_the_same_kind_of_backbone(tmp_path):
    (row,) = read_published(published_table(tmp_path), tmp_path)
    run = results(published=[row, row])
    assert published(run, "dense_mole", "last") == "52.06"
    assert sources(run) == ["Some paper. Its prompts."]
    assert read_published(published_table(tmp_path, backbone="llava"), tmp_path) == []
    assert read_published(published_table(tmp_path), tmp_path / "none") == []
    (tmp_path / "t.csv").write_text("metric,method,Average\nLast,x,1\n")
    with pytest.raises(InputError, match="needs rows with the columns metric"):
        read_published(tmp_path / "t.csv", tmp_path)


@pytest.mark.parametrize("table", sorted(Path("workflow/report/published").glob("*.csv")))
def test_shipped_results_are_of_shipped_streams_and_name_their_source(table):
    assert Path(f"workflow/config/{table.stem}.yaml").is_file()
    with table.open(newline="") as handle:
        for row in csv.DictReader(handle):
            assert row["source"] and row["method"] and float(row["Average"])
            cells = [float(row[name]) for name in list(row)[2:-4] if row[name]]
            if len(cells) == len(list(row)) - 6:  # all tasks: their mean is the average
                assert sum(cells) / len(cells) == pytest.approx(float(row["Average"]), abs=0.011)


def test_published_numbers_of_other_tasks_are_not_shown():
    row = {"metric": "AVG", "method": "O-LoRA", "elsewhere": "50", "Average": "58.79"}
    assert published(results(published=[row]), "o_lora", "avg") is None


def test_labels_keep_their_order_and_their_distance():
    places = spread({"low": 0.0, "high": 10.0, "middle": 9.9, "lower": 9.8}, (0.0, 10.0), 2)
    assert places == [("low", 0.0), ("lower", 6.0), ("middle", 8.0), ("high", 10.0)]
    tight = spread({"a": 5.0, "b": 5.0, "c": 5.0}, (4.0, 6.0), 20)
    assert tight == [("a", 4.0), ("b", 5.0), ("c", 6.0)]


def mean(value: float | None, half: float | None = None) -> dict:
    return {"mean": value, "half_width": half}


def test_the_best_and_those_within_its_interval_are_marked():
    values = {"a": mean(50, 3), "b": mean(47.5, 9), "c": mean(46, 9), "joint": mean(90, 1)}
    assert marks(values | {"d": mean(None)}) == {"a": "best", "b": "near"}
    assert marks(values, lowest=True) == {"c": "best", "b": "near", "a": "near"}
    assert marks({"a": mean(1), "zero_shot": mean(2)}) == {}  # nothing to be better than


def test_methods_stand_by_their_last_score():
    methods = [
        {"name": n, "metrics": {"last": mean(v)}} for n, v in (("x", None), ("y", 1), ("z", 2))
    ]
    assert [entry["name"] for entry in ranked(methods)] == ["z", "y", "x"]


def scored(method, seed, values, step=3):
    metrics = ("cider", "accuracy", "iou > 0.5")
    return [
        {"method": method, "seed": seed, "step": step, "task": task, "metric": metric, "value": v}
        for task, metric, v in zip(TASKS, metrics, values, strict=True)
    ]


def test_last_without_captions_is_over_the_other_tasks():
    run = results()
    run.scores = scored("x", 0, [90, 40, 60]) + scored("x", 1, [10, 50, 70])
    run.scores += scored("x", 0, [1, 2, 3], step=2)  # not the end
    found = last_without_captions(run, "x")
    # seeds 50 and 60: t of one degree is 12.706
    assert found == {"mean": 55.0, "half_width": pytest.approx(12.706 * 5.0, rel=1e-4)}
    assert last_without_captions(run, "y") is None
    run.scores = [row | {"metric": "accuracy"} for row in run.scores]
    assert last_without_captions(run, "x") is None  # it would be last itself


def test_a_method_differs_from_the_reference_sample_by_sample():
    frames = {
        "dmole": pd.DataFrame({0: [100.0, 0.0], 1: [100.0, 100.0]}, ["p", "q"]),
        "seq_ft": pd.DataFrame({1: [0.0, 0.0], 0: [0.0, 100.0]}, ["q", "p"]),
    }
    run = results(last_samples={(n, t): frame for n, frame in frames.items() for t in TASKS})
    found = by_sample_of(run, "seq_ft", "dmole")
    # seed 0: p 100 - 100, q 0 - 0; seed 1: p 0 - 100, q 0 - 100
    assert found["mean"] == -50.0
    assert by_sample_of(run, "dmole", "dmole") is None
    assert by_sample_of(run, "alone", "dmole") is None  # not measured


@pytest.mark.parametrize(
    ("seeds", "drawn"), [([0], "other test rows of"), ([0, 1], "rows and seeds")]
)
def test_the_table_by_sample(seeds, drawn):
    found = {"mean": -3.14159, "half_width": 2.5, "p": 0.0004, "p_tasks": 0.25, "detectable": 3.6}
    methods = [
        {"name": name, "metrics": {"last": mean(last)}, "by_sample": by}
        for name, last, by in (("dmole", 9, None), ("ewc", 5, found), ("own", None, found))
    ]
    made = by_sample_table({"methods": methods, "reference": "dmole", "seeds": seeds})
    assert [row[0].text for row in made.rows] == ["ewc", "own"]
    assert made.rows[0][1:] == ["-3.14 ± 2.50", "< 0.001", "0.250", "3.60"]
    assert drawn in made.caption


def test_markdown_of_a_section():
    table = Table(["Method", "x_1"], [["a_b", Cell("1.0")]], "A | B.", title="T")
    section = Section("k", "t", "Lead.", [table, Definitions([("a *", "why", "")])])
    assert markdown(section, "Head", "By `make`.") == (
        "# Head\n\nBy `make`.\n\nLead.\n\n## T\n\n"
        "| Method | x\\_1 |\n| --- | ---: |\n| a\\_b | 1.0 |\n\nA \\| B.\n\n- **a \\*** why\n"
    )

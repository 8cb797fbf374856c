"""The test questions in other words, against the routes and scores of the finished run."""

from pathlib import Path
from unittest import mock

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.tools import robust
from tests.helpers.finished_run import TASKS

SAMPLES = 5


@pytest.fixture(scope="module")
def found(small_run, tmp_path_factory) -> list[dict]:
    out = tmp_path_factory.mktemp("robust") / "robust.json"
    words = [str(small_run), "--method", "dmole", "--samples", str(SAMPLES), "--answers"]
    robust.main([*words, "--out", str(out)])
    return artifacts.read_json("robust", out)["wordings"]


def entry(found: list[dict], kind: str, task: str | None) -> dict:
    (one,) = [e for e in found if (e["kind"], e["task"]) == (kind, task)]
    return one


def test_plain_questions_go_where_the_run_sent_them(small_run, found):
    for task in ("tiny_caption", "tiny_choice", "tiny_ground"):
        routes = artifacts.read_table("routes", small_run / f"seed0/dmole/routes/{task}.parquet")
        last = [row for row in routes.to_pylist() if row["step"] == 3][:SAMPLES]
        plain = entry(found, "plain", task)
        assert plain["n"] == SAMPLES
        assert plain["own_first"] == sum(r["experts"][:1] == [task] for r in last) / SAMPLES
        assert plain["rejected"] == sum(not r["experts"] for r in last) / SAMPLES


def test_plain_answers_have_the_runs_scores(small_run, found):
    scores = artifacts.read_table("sample_scores", small_run / "sample_scores.parquet").to_pylist()
    for task in ("tiny_choice", "tiny_ground"):
        routes = artifacts.read_table("routes", small_run / f"seed0/dmole/routes/{task}.parquet")
        names = {row["sample_id"] for row in routes.to_pylist()[:SAMPLES]}
        own = [
            row["score"]
            for row in scores
            if (row["run"], row["step"], row["task"]) == ("dmole", 3, task)
            and row["sample_id"] in names
        ]
        assert entry(found, "plain", task)["score_routed"] == pytest.approx(sum(own) / SAMPLES)


def test_every_sample_is_own_other_or_rejected(found):
    for one in found:
        assert one["own_first"] + one["rejected"] + one["other_first"] == pytest.approx(1)


def test_a_mean_weighs_tasks_alike(found):
    tasks = [e for e in found if e["kind"] == "case" and e["task"]]
    assert len(tasks) == 3
    mean = sum(e["own_first"] for e in tasks) / 3
    assert entry(found, "case", None)["own_first"] == pytest.approx(mean)


# --- methods without routers ---


FEW = 2


@pytest.fixture(scope="module")
def beside(small_run, tmp_path_factory) -> tuple[Path, list[tuple[str, str]]]:
    """Two methods at once, saved where a run sheet says, whose other paths are the run's; and every
    answer that was scored, in this order."""
    folder, said = tmp_path_factory.mktemp("beside"), []
    sheet = artifacts.read_json("runs", small_run / "runs.json") | {"root": str(small_run)}
    for run in sheet["runs"]:
        run["measures"] = {"robust": str(folder / f"{run['name']}.json")}
    artifacts.write_json("runs", folder / "runs.json", sheet)

    def score(sample: str, text: str) -> tuple[float, bool]:
        said.append((sample, text))
        return float(len(said)), True

    words = [str(folder), "--method", "seq_ft,individual", "--samples", str(FEW)]
    with mock.patch("stages.core.evaluation.scores.make_scorer", lambda *_: score):
        robust.main([*words, "--answers", "--save"])
    return folder, said


@pytest.mark.parametrize("place", [0, 1], ids=["seq_ft", "individual"])
def test_other_methods_answer_as_in_the_run(small_run, beside, place):
    """The plain questions come first; the state that answers is the last one or the own task's."""
    method, said = ("seq_ft", "individual")[place], beside[1]
    start = place * len(said) // 2
    for number, task in enumerate(TASKS):
        state = TASKS[-1] if method == "seq_ft" else task
        file = small_run / f"seed0/{method}/predictions/{task}.parquet"
        told = {
            row["sample_id"]: row["text"]
            for row in artifacts.read_table("predictions", file).to_pylist()
            if row["experts"] == [state]
        }
        part = said[start + FEW * number :][:FEW]
        assert part == [(sample, told[sample]) for sample, _ in part]
        assert len({sample for sample, _ in part}) == FEW


def test_other_methods_have_scores_alone(beside):
    """The n-th answer scored n: plain ones 1 to 6, two a task."""
    found = artifacts.read_json("robust", beside[0] / "seq_ft.json")["wordings"]
    assert {frozenset(one) for one in found} == {frozenset(("kind", "task", "n", "score_routed"))}
    scores = [entry(found, "plain", task)["score_routed"] for task in TASKS]
    assert scores == [1.5, 3.5, 5.5]
    overall = {"kind": "plain", "task": None, "n": 6, "score_routed": 3.5}
    assert entry(found, "plain", None) == overall
    assert {"plain", "case", "polite"} <= {one["kind"] for one in found}


def test_runs_stand_side_by_side():
    routed = {"kind": "plain", "task": None, "n": 2, "own_first": 1.0, "score_routed": 61.25}
    other = {"kind": "plain", "task": None, "n": 2, "score_routed": 33.0}
    shown = [line.split() for line in robust.lines({"a": [routed], "b": [other]})]
    assert shown == [
        ["a:", "who", "answers"],
        ["wording", "own_first"],
        ["plain", "1"],
        ["score"],
        ["wording", "a:", "routed", "b:", "routed"],
        ["plain", "61.25", "33"],
    ]


def test_without_answers_there_is_nothing_to_measure_of_them(small_run):
    with pytest.raises(InputError, match="seq_ft does not route by threshold, .* add --answers"):
        robust.main([str(small_run), "--method", "dmole,seq_ft"])


def test_one_file_holds_one_method(small_run, tmp_path):
    with pytest.raises(InputError, match="--save writes one for each"):
        words = ["--method", "seq_ft,dmole", "--answers", "--out", str(tmp_path / "x.json")]
        robust.main([str(small_run), *words])


def test_an_older_run_sheet_says_where_nothing_belongs(small_run, tmp_path):
    sheet = artifacts.read_json("runs", small_run / "runs.json") | {"root": str(small_run)}
    for run in sheet["runs"]:
        del run["measures"]
    artifacts.write_json("runs", tmp_path / "runs.json", sheet)
    with pytest.raises(InputError, match="--forcerun list_runs"):
        robust.main([str(tmp_path), "--save"])


def test_a_number_of_samples_is_positive(small_run):
    with pytest.raises(InputError, match="--samples: 0"):
        robust.main([str(small_run), "--samples", "0"])

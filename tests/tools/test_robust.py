"""The test questions in other words, against the routes and scores of the finished run."""

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.tools import robust

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


def test_methods_without_routers_are_refused(small_run):
    with pytest.raises(InputError, match="seq_ft does not route by threshold"):
        robust.main([str(small_run), "--method", "seq_ft"])


def test_a_number_of_samples_is_positive(small_run):
    with pytest.raises(InputError, match="--samples: 0"):
        robust.main([str(small_run), "--samples", "0"])

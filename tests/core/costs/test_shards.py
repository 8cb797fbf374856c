"""How many jobs divide a task's answers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stages.core.base.config import load_config
from stages.core.base.errors import InputError
from stages.core.costs import shards as module
from stages.core.costs.queue import jobs
from stages.core.costs.shards import shards
from stages.core.runs.runs import Runs
from stages.tools.plan import plan_costs

ROOT = Path(__file__).parents[3]
AUTO = {"batch_size": "auto", "shards": "auto", "steps": "all"}


def cmit(tmp_path, **changes):
    """The paper's setting, none of whose files is there."""
    config = load_config(ROOT / "workflow" / "config" / "cmit.yaml")
    return config | {"output": str(tmp_path / "none"), "prediction": AUTO} | changes


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    config = cmit(tmp_path_factory.mktemp("plan"))
    return plan_costs(config, "seq_ft", "internvl2-2b", gpu="a100", gpus=8, mfu=0.25, wait=10)


def test_no_shard_is_planned_to_take_more_than_four_hours(plan, tmp_path):
    """As many as the hours of the plan ask for; the experts that it counts are 1 % of them."""
    runs, found = Runs(cmit(tmp_path)), {}
    for task in plan["tasks"]:
        hours = task["stages"]["predict"]["gpu_hours"]
        found[task["task"]] = shards(runs, "predict", "seq_ft", task["task"])
        assert math.ceil(0.98 * hours / 4) <= found[task["task"]] <= math.ceil(hours / 4)
    assert max(found.values()) > 5
    assert min(found.values()) == 1


def test_methods_that_answer_once_per_sample_have_fewer(tmp_path, monkeypatch):
    """Nine states answer every sample of seq_ft, one answers with D-MoLE."""
    monkeypatch.setattr(module, "HOURS", 0.01)
    runs = Runs(cmit(tmp_path))
    sequential, routed = (shards(runs, "predict", run, "ocrvqa") for run in ("seq_ft", "dmole"))
    assert sequential == pytest.approx(9 * routed, abs=9)
    assert shards(runs, "predict_backbone", "", "ocrvqa") == routed > 100


def test_several_gpus_of_a_job_count(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HOURS", 0.01)
    gpus = load_config(ROOT / "workflow" / "config" / "cmit.yaml")["gpus"]
    one, four = (
        shards(Runs(cmit(tmp_path, gpus=gpus | {"inference": n})), "predict", "dmole", "skvg")
        for n in (1, 4)
    )
    assert one == pytest.approx(4 * four, abs=4)
    assert one > 10


def test_what_has_been_prepared_does_not_matter(tmp_path):
    """A plan reads prepared rows; the number of jobs must be the same before and after."""
    before = shards(Runs(cmit(tmp_path)), "predict", "seq_ft", "ocrvqa")
    prepared = tmp_path / "none" / "cmit" / "data" / "ocrvqa" / "test.parquet"
    prepared.parent.mkdir(parents=True)
    prepared.write_text("anything")
    assert shards(Runs(cmit(tmp_path)), "predict", "seq_ft", "ocrvqa") == before


def test_a_number_is_taken_as_it_is(tmp_path):
    runs = Runs(cmit(tmp_path, prediction=AUTO | {"shards": 3}))
    assert shards(runs, "predict", "dmole", "skvg") == 3
    assert jobs(runs, 1)["by_rule"]["predict_backbone_shard"] == 3 * 9


def test_a_manifest_without_a_number_of_rows_is_refused(tmp_path):
    coin = load_config(ROOT / "workflow" / "config" / "coin.yaml") | {"prediction": AUTO}
    coin["backbone"]["path"] = "models/internvl2-2b"
    with pytest.raises(InputError, match=r"gqa.yaml: test: prediction.shards auto needs to know"):
        shards(Runs(coin), "predict", "dmole", "gqa")
    limited = coin | {"rows": {"test": 50, "train": None, "held_out": None}}
    assert shards(Runs(limited), "predict", "dmole", "gqa") == 1


def test_an_unknown_backbone_is_refused(tmp_path):
    config = cmit(tmp_path)
    config["backbone"]["path"] = "someone/else"
    with pytest.raises(InputError, match="someone/else has no config.json.*Or give a number of sh"):
        shards(Runs(config), "predict", "dmole", "skvg")

"""The size is that of the allocation that the stage would write."""

import json

from stages import allocate_experts, match_size
from stages.core.base import artifacts, cli
from tests.stages.test_allocate_experts import CONFIG, SHAPES, rows


def test_the_size_is_the_sum_over_the_allocated_slots(tmp_path) -> None:
    profile = tmp_path / "signs.parquet"
    rest = {"standard_error": 0.1, "parameters": 1, "n_samples": 8, "mean_loss": 1.0}
    table = [row | rest for row in rows()]
    artifacts.write_table("profile", profile, table, task="signs", shapes=SHAPES, provenance={})
    for stage, name in ((allocate_experts, "allocation"), (match_size, "size")):
        argv = ["--profile", str(profile), "--seed", "0", "--config", json.dumps(CONFIG)]
        cli.run(stage.main, [*argv, "--out", str(tmp_path / f"{name}.json")])
    allocation = artifacts.read_json("allocation", tmp_path / "allocation.json")
    slots = [slot for slot in allocation["slots"] if slot["allocated"]]
    size = artifacts.read_json("size", tmp_path / "size.json")
    assert size["trainable_parameters"] == sum(slot["trainable_parameters"] for slot in slots) > 0
    assert size["task"] == "signs"

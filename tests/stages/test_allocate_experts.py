"""The allocation file of a small profile, worked out by hand."""

import json

import pytest

from stages import allocate_experts
from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError

CONFIG = {
    "budget": {"ratio": 0.5, "tower_score": "l2", "vision_floor": 0.0, "modality": "curriculum"},
    "allocation": {"strategy": "gradient"},
    "profile": {"include_bias": False, "loss": "sample_mean"},
    "expert": {"rank": 2, "alpha": 4, "qkv": "split"},
}
SCORES = {  # vision: norm 5; llm: norm sqrt(36 + 64 + 0 + 44) = 12
    ("vision", 0, "qkv"): 0.0,
    ("vision", 0, "o"): 4.0,
    ("vision", 1, "qkv"): 3.0,
    ("vision", 1, "o"): 0.0,
    ("llm", 0, "qkv"): 6.0,
    ("llm", 0, "o"): 8.0,
    ("llm", 1, "qkv"): 0.0,
    ("llm", 1, "o"): 44**0.5,
}
SHAPES = {  # fused in the vision encoder; separate with fewer key/value heads in the llm
    "vision.0.qkv": [[12, 4]],
    "vision.0.o": [[4, 4]],
    "vision.1.qkv": [[12, 4]],
    "vision.1.o": [[4, 4]],
    "llm.0.qkv": [[6, 6], [2, 6], [2, 6]],
    "llm.0.o": [[6, 6]],
    "llm.1.qkv": [[6, 6], [2, 6], [2, 6]],
    "llm.1.o": [[6, 6]],
}


def rows(scores: dict = SCORES) -> list[dict]:
    return [
        {"tower": module, "block": block, "slot": slot, "score": score}
        for (module, block, slot), score in reversed(scores.items())
    ]


def allocate(scores: dict = SCORES, seed: int = 0, task: str = "signs", **changes) -> dict:
    config = {key: {**CONFIG[key], **changes.get(key, {})} for key in CONFIG}
    return allocate_experts.allocate_experts(rows(scores), SHAPES, task, seed, **config)


def allocated(allocation: dict) -> list[str]:
    return [f"{s['tower']}.{s['block']}.{s['slot']}" for s in allocation["slots"] if s["allocated"]]


def test_budget_and_slots() -> None:
    found = allocate()
    # 8 slots, half of them: 4. The vision encoder's share is 5/17 of 4 = 1.18, so 1.
    assert (found["total_slots"], found["budget"]) == (8, 4)
    assert found["towers"]["vision"] == {
        "score": pytest.approx(5), "ratio": pytest.approx(5 / 17), "slots": 4, "budget": 1,
    }  # fmt: skip
    assert found["towers"]["llm"] == {
        "score": pytest.approx(12), "ratio": pytest.approx(12 / 17), "slots": 4, "budget": 3,
    }  # fmt: skip
    assert allocated(found) == ["vision.0.o", "llm.0.qkv", "llm.0.o", "llm.1.o"]


def test_order_within_each_tower() -> None:
    ranks = [slot["order"] for slot in allocate()["slots"]]
    assert ranks == [3, 1, 2, 4, 3, 1, 4, 2]  # of equal zeros the lower block and qkv first


def test_trainable_parameters() -> None:
    """rank x (inputs + outputs), summed over the linears of a slot."""
    found = allocate()
    per_slot = {f"{s['tower']}.{s['block']}.{s['slot']}": s for s in found["slots"]}
    assert per_slot["vision.0.qkv"]["trainable_parameters"] == 2 * (12 + 4)
    assert per_slot["llm.0.qkv"]["trainable_parameters"] == 2 * (12 + 8 + 8)
    assert found["trainable_parameters"] == 2 * (8 + 28 + 12 + 12)
    assert allocate(expert={"rank": 4})["trainable_parameters"] == 4 * (8 + 28 + 12 + 12)


@pytest.mark.parametrize(("ratio", "count"), [(0, 0), (1, 8)])
def test_no_and_all_slots(ratio: float, count: int) -> None:
    found = allocate(budget={"ratio": ratio})
    assert len(allocated(found)) == count
    assert (found["trainable_parameters"] == 0) == (ratio == 0)


def test_a_silent_tower_gets_nothing() -> None:
    scores = {key: 0.0 if key[0] == "vision" else value for key, value in SCORES.items()}
    found = allocate(scores)
    assert found["towers"]["vision"]["budget"] == 0
    assert found["towers"]["llm"]["budget"] == 4


def test_order_is_by_score_whatever_the_strategy() -> None:
    top = allocate(allocation={"strategy": "top"})
    assert allocated(top) == ["vision.1.qkv", "llm.0.qkv", "llm.1.qkv", "llm.1.o"]
    assert [s["order"] for s in top["slots"]] == [s["order"] for s in allocate()["slots"]]


def test_random_follows_seed_and_task() -> None:
    def draw(seed: int, task: str) -> tuple:
        return tuple(allocated(allocate(seed=seed, task=task, allocation={"strategy": "random"})))

    assert draw(3, "a") == draw(3, "a")
    assert len({draw(seed, "a") for seed in range(8)}) > 1
    assert len({draw(0, task) for task in "abcdefgh"}) > 1


def test_modality_only() -> None:
    found = allocate(budget={"modality": "vision_only", "ratio": 1})
    assert {name.split(".")[0] for name in allocated(found)} == {"vision"}
    assert found["towers"]["llm"]["budget"] == 0


def test_broken_profile_names_the_task() -> None:
    with pytest.raises(InputError, match="task 'signs', tower 'vision'"):
        allocate({**SCORES, ("vision", 0, "o"): float("nan")})


class TestCommand:
    @pytest.fixture
    def profile(self, tmp_path):
        path = tmp_path / "signs.parquet"
        rest = {"standard_error": 0.1, "parameters": 1, "n_samples": 8, "mean_loss": 1.0}
        table = [row | rest for row in rows()]
        artifacts.write_table("profile", path, table, task="signs", shapes=SHAPES, provenance={})
        return path

    def run(self, profile, out, config: dict = CONFIG) -> None:
        argv = ["--profile", str(profile), "--seed", "0", "--out", str(out)]
        cli.run(allocate_experts.main, [*argv, "--config", json.dumps(config)])

    def test_writes_what_the_function_returns(self, profile, tmp_path) -> None:
        out = tmp_path / "allocations" / "signs.json"
        self.run(profile, out)
        written = artifacts.read_json("allocation", out)
        assert allocated(written) == allocated(allocate())
        assert written["provenance"]["seed"] == 0
        assert written["provenance"]["config"] == CONFIG
        assert written["switches"]["loss"] == "sample_mean"

    def test_same_input_same_bytes(self, profile, tmp_path) -> None:
        for name in ("a.json", "b.json"):
            self.run(profile, tmp_path / name)
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()

    def test_ratio_out_of_range_leaves_no_file(self, profile, tmp_path, capsys) -> None:
        config = CONFIG | {"budget": CONFIG["budget"] | {"ratio": 1.5}}
        with pytest.raises(SystemExit) as stop:
            self.run(profile, tmp_path / "out.json", config)
        assert stop.value.code == 1
        assert "budget.ratio: 1.5 is outside [0, 1]" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == [profile]

    def test_an_edit_that_breaks_the_schema_names_the_key(self, profile, tmp_path) -> None:
        out = tmp_path / "signs.json"
        self.run(profile, out)
        content = json.loads(out.read_text())
        content["slots"][2]["allocated"] = "yes"
        out.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"signs.json: slots.2.allocated: 'yes'"):
            artifacts.read_json("allocation", out)

    def test_an_edited_file_is_not_overwritten(self, profile, tmp_path, capsys) -> None:
        out = tmp_path / "signs.json"
        self.run(profile, out)
        edited = out.read_text().replace('"allocated": true', '"allocated": false', 1)
        out.write_text(edited)
        with pytest.raises(SystemExit) as stop:
            self.run(profile, out)
        assert stop.value.code == 1
        message = capsys.readouterr().err
        assert message.startswith(f"error: {out}: was edited")
        assert "overrides:" in message and "cmit discard-edits" in message
        assert out.read_text() == edited

    def test_a_file_as_it_was_written_is_replaced(self, profile, tmp_path) -> None:
        out = tmp_path / "signs.json"
        self.run(profile, out)
        config = CONFIG | {"budget": CONFIG["budget"] | {"modality": "llm_only"}}
        self.run(profile, out, config)
        assert artifacts.read_json("allocation", out)["towers"]["vision"]["budget"] == 0

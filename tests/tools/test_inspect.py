"""What is printed of each kind of artefact, and what is said of files that are none."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.core.base import artifacts, cli
from stages.tools import inspect
from tests.helpers.known_routers import write_constant_router

PROVENANCE = {
    "stage": "some_stage",
    "source": "0123abcd",
    "inputs": {"profile": "f" * 64},
    "config": {"budget": {"ratio": 0.5}},
    "seed": 7,
    "method": None,
    "device": "cpu",
    "versions": {"numpy": "9.9"},
}


@pytest.fixture
def shown(capsys):
    """Lines that the command prints, runs of spaces as one."""

    def show(path, *flags: str) -> list[str]:
        cli.run(inspect.main, [str(path), *flags])
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return show


@pytest.fixture
def fails(capsys):
    """The message of the error."""

    def fail(path) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.run(inspect.main, [str(path)])
        assert stop.value.code == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return fail


def test_provenance_is_printed(shown, tmp_path) -> None:
    table = [{"sample_id": "a", "experts": [], "text": "x"}]
    path = tmp_path / "p.parquet"
    artifacts.write_table("predictions", path, table, task="t", provenance=PROVENANCE)
    lines = shown(path)
    for expected in (
        "stage some_stage", "seed 7", "source 0123abcd", "config budget ratio: 0.5",
        "input profile sha256 ffffffffffffffff…", "versions numpy: 9.9",
    ):  # fmt: skip
        assert expected in lines
    assert not any(line.startswith("method") for line in lines)


def test_allocation_is_a_grid_of_slots(shown, tmp_path) -> None:
    scores = {
        ("vision", 0, "qkv"): (4.0, True),
        ("vision", 0, "o"): (1.0, False),
        ("llm", 0, "qkv"): (0.0, False),
        ("llm", 0, "o"): (10.0, True),
        ("llm", 1, "qkv"): (5.0, True),
        ("llm", 1, "o"): (2.0, False),
    }
    slots = [
        {"tower": m, "block": b, "slot": s, "score": score, "order": 1, "allocated": got}
        | {"trainable_parameters": 100}
        for (m, b, s), (score, got) in scores.items()
    ]
    content = {
        "task": "signs",
        "strategy": "gradient",
        "ratio": 0.5,
        "total_slots": 6,
        "budget": 3,
        "towers": {
            "vision": {"score": 4.123, "ratio": 0.25, "slots": 2, "budget": 1},
            "llm": {"score": 11.36, "ratio": 0.75, "slots": 4, "budget": 2},
        },
        "slots": slots,
        "expert": {"rank": 8, "alpha": 16},
        "trainable_parameters": 12300,
        "switches": {
            "tower_score": "l2",
            "modality": "curriculum",
            "vision_floor": 0,
            "include_bias": False,
            "loss": "sample_mean",
        },
        "provenance": PROVENANCE,
    }
    artifacts.write_json("allocation", tmp_path / "a.json", content)
    lines = shown(tmp_path / "a.json")
    assert "Allocation of task signs, strategy gradient" in lines
    assert "vision 4.123 25.0 % 2 1" in lines
    assert "llm 11.36 75.0 % 4 2" in lines
    assert "0 ■ █ 4 □ ▃ 1 □ ▁ 0 ■ █ 10" in lines
    assert "1 ■ ▅ 5 □ ▂ 2" in lines  # the vision encoder has one block only
    assert any("12,300 trainable parameters" in line for line in lines)


class TestRouter:
    def test_threshold_and_quantiles(self, shown, tmp_path) -> None:
        write_constant_router(tmp_path, "signs", [0.0, 1.0], threshold=0.5)
        lines = shown(tmp_path / "signs.json")
        assert "Router of task signs" in lines
        assert any(line.startswith("threshold 0.5 = 1 × 0.5") for line in lines)
        assert "p99 1 2 · ·" in lines  # loss 1, twice the threshold, nothing out of fold
        keys = [line.split()[0] for line in lines if re.match(r"(min|p\d\d|max|mean|std) ", line)]
        assert keys[:3] == ["min", "p01", "p05"]
        assert keys[-4:] == ["p99", "max", "mean", "std"]
        assert not any("by hand" in line for line in lines)

    def test_an_edited_threshold_is_pointed_out(self, shown, tmp_path) -> None:
        write_constant_router(tmp_path, "signs", [0.0, 1.0], threshold=0.5)
        path = tmp_path / "signs.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 0.75}))
        lines = shown(path)
        assert any("edited by hand" in line and line.endswith(" 0.75") for line in lines)

    def test_weights(self, shown, tmp_path) -> None:
        write_constant_router(tmp_path, "signs", [0.0, 1.0])
        lines = shown(tmp_path / "signs.safetensors")
        assert "task: signs" in lines
        assert "encoder.weight F32 3 × 2 6 24" in lines
        assert "4 tensors 17 68" in lines

    def test_an_edit_that_breaks_the_schema(self, fails, tmp_path) -> None:
        write_constant_router(tmp_path, "signs", [0.0, 1.0])
        path = tmp_path / "signs.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 0}))
        assert "signs.json: threshold: 0" in fails(path)


def test_transfer_orders_the_losses_and_marks_the_parent(shown, tmp_path) -> None:
    content = {"task": "d", "step": 4, "parent": "b", "require_threshold": True}
    content |= {"losses": {"a": 0.4, "b": 0.1, "c": 0.2}, "provenance": PROVENANCE}
    content |= {"thresholds": {"a": 1.0, "b": 2.0, "c": 3.0}}
    artifacts.write_json("transfer", tmp_path / "t.json", content)
    lines = shown(tmp_path / "t.json")
    assert "Parent of task d (step 4): b" in lines
    first = lines.index(f"b ← parent 0.1 {10 * '█'} 2")
    assert lines[first + 1 : first + 3] == [f"c 0.2 {20 * '█'} 3", f"a 0.4 {40 * '█'} 1"]


def test_first_task_of_a_stream(shown, tmp_path) -> None:
    content = {"task": "a", "step": 1, "parent": None, "require_threshold": False}
    content |= {"losses": {}, "thresholds": None, "provenance": PROVENANCE}
    artifacts.write_json("transfer", tmp_path / "t.json", content)
    lines = shown(tmp_path / "t.json")
    assert "Parent of task a (step 1): None" in lines
    assert "no earlier task" in lines


def test_routes_are_counted_by_expert_set_and_step(shown, tmp_path) -> None:
    rows = []
    for i in range(4):
        second = ["b", "a"] if i == 0 else ["b"] if i < 3 else []
        for step, experts in enumerate(([], ["a"], second)):
            row = {"sample_id": f"s{i}", "step": step, "experts": experts, "best_task": None}
            rows.append(row | {"ratio": None, "n_under": len(experts)})
    path = tmp_path / "r.parquet"
    artifacts.write_table("routes", path, rows, task="b", method="dmole", provenance=PROVENANCE)
    lines = shown(path)
    assert "Samples of task b by active experts and step, method dmole" in lines
    assert "(backbone) 4 · 1" in lines
    assert "a · 4 ·" in lines
    assert "b · · 2" in lines
    assert "b + a · · 1" in lines
    assert "samples 4 4 4" in lines
    assert "routers that accept a sample, mean 0 1 1" in lines
    assert "12 rows" in next(line for line in lines if " rows, " in line)


def test_routes_without_routers(shown, tmp_path) -> None:
    row = {"sample_id": "s", "step": 1, "experts": ["b"], "best_task": None}
    path = tmp_path / "r.parquet"
    artifacts.write_table(
        "routes", path, [row | {"ratio": None, "n_under": None}], task="b", method="individual"
    )
    lines = shown(path)
    assert "b 1" in lines
    assert not any("under threshold" in line for line in lines)


def test_metrics(shown, tmp_path) -> None:
    last = {"value": 45.0, "per_task": {"a": 40.0, "b": 50.0}, "missing": []}
    bwt = {"value": None, "per_task": {"a": None}, "missing": [{"step": 1, "task": "a"}]}
    content = {
        "tasks": ["a", "b"],
        "definitions": {name: {"formula": "f", "used_by": "u"} for name in ("last", "bwt")},
        "runs": [
            {
                "method": "dmole",
                "seed": 0,
                "tasks": ["a", "b"],
                "matrix": [[1.0, 2.0], [None, 3.25], [40.0, 50.0]],
                "metrics": {"last": last, "bwt": bwt},
            }
        ],
        "summary": [],
        "provenance": PROVENANCE,
    }
    artifacts.write_json("metrics", tmp_path / "metrics.json", content)
    lines = shown(tmp_path / "metrics.json")
    assert "Scores of dmole, seed 0" in lines
    assert [line for line in lines if line.startswith(("pretraining ", "a ", "b "))] == [
        "pretraining 1 2",
        "a · 3.25",
        "b 40 50",
    ]
    assert "last 45" in lines
    assert "bwt ·" in lines


class TestParquet:
    def test_columns_metadata_and_head(self, shown, tmp_path) -> None:
        rows = [{"sample_id": f"s{i}", "z": np.full(12, i, np.float32)} for i in range(5)]
        path = tmp_path / "f.parquet"
        artifacts.write_table("features", path, rows, task="t", vision_dim=12, provenance={})
        lines = shown(path, "--rows", "2")
        assert "schema: features" in lines
        assert "vision_dim: 12" in lines
        assert "sample_id string s0 s1" in lines
        assert any(line.startswith("z list<float> [0, 0, 0, 0, … 12 values]") for line in lines)
        assert any(line.startswith("5 rows, ") for line in lines)

    def test_images_by_size_and_markup_as_it_is(self, shown, tmp_path) -> None:
        row = dict.fromkeys(artifacts.DATA.names) | {"sample_id": "[bold]x[/] :smile:"}
        row |= {"images": [{"bytes": b"12345", "path": None}]}
        row |= {"turns": [{"question": "one\ntwo", "answer": "A"}]}
        path = tmp_path / "d.parquet"
        artifacts.write_table("data", path, [row], task={"name": "t"}, provenance={})
        text = "\n".join(shown(path))
        assert "<5 bytes>" in text
        assert "[bold]x[/] :smile:" in text
        assert "question: one⏎two" in text

    def test_a_file_of_someone_else(self, shown, tmp_path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "x.parquet")
        assert "x int64 1 2 3" in shown(tmp_path / "x.parquet")

    def test_damaged(self, fails, tmp_path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
        assert "x.parquet: not readable as Parquet" in fails(tmp_path / "x.parquet")


class TestExpert:
    @pytest.fixture
    def folder(self, tmp_path):
        linear = "base_model.model.layers.0.o_proj"
        tensors = {
            f"{linear}.lora_A.weight": torch.zeros(4, 10),
            f"{linear}.lora_B.weight": torch.zeros(6, 4),
        }
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "base_model_name_or_path": "some/backbone", "r": 4}
        config |= {"lora_alpha": 8, "lora_dropout": 0.05, "target_modules": ["layers.0.o_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        return tmp_path

    def test_adapter(self, shown, folder) -> None:
        lines = shown(folder)
        assert any("some/backbone" in line and "(scale 2)" in line for line in lines)
        assert "layers.0.o_proj 4 10 6 64" in lines  # 4 x (10 + 6)
        assert "1 linears 64" in lines

    def test_training_and_provenance(self, shown, folder) -> None:
        training = {"task": "t", "rows": 1200, "trainable_parameters": 64}
        training |= {"loss": [[1, 8.0], [2, 4.0], [3, 1.0]]}
        (folder / "training.json").write_text(json.dumps(training))
        (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
        lines = shown(folder)
        assert "trained on 1,200 rows of t: 64 trainable parameters" in lines
        assert "loss 8 → 1 █▅▂" in lines
        assert "seed 7" in lines

    def test_a_mixture_lists_its_tensors(self, shown, tmp_path) -> None:
        save_file({"llm.0.o.lora_A": torch.zeros(2, 3)}, tmp_path / "mixture.safetensors")
        lines = shown(tmp_path)
        assert lines[0] == "mixture.safetensors"
        assert any("llm.0.o.lora_A" in line and "2 × 3" in line for line in lines)

    def test_another_folder(self, fails, tmp_path) -> None:
        (tmp_path / "b.json").touch()
        assert "not an expert's folder" in (message := fails(tmp_path))
        assert "it holds b.json" in message


class TestOtherFiles:
    def test_missing(self, fails, tmp_path) -> None:
        assert "gone.json: no such file" in fails(tmp_path / "gone.json")

    def test_rows(self, capsys, tmp_path) -> None:
        with pytest.raises(SystemExit):
            cli.run(inspect.main, [str(tmp_path), "--rows", "0"])
        assert "--rows: 0 is not a positive number" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["model.pt", "notes"])
    def test_a_kind_that_is_no_artefact(self, fails, tmp_path, name) -> None:
        (tmp_path / name).write_bytes(b"\x80")
        message = fails(tmp_path / name)
        assert f"{name}: cannot show" in message
        assert ".parquet, .json or .safetensors" in message

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not readable as JSON"),
            ("[1]", "expected a JSON object, found list"),
            ('{"x": 1}', "none of the JSON artefacts (allocation, router, transfer, metrics)"),
        ],
    )
    def test_json(self, fails, tmp_path, text, message) -> None:
        (tmp_path / "x.json").write_text(text)
        assert message in fails(tmp_path / "x.json")

    def test_damaged_weights(self, fails, tmp_path) -> None:
        (tmp_path / "x.safetensors").write_bytes(b"garbage")
        assert "x.safetensors: not readable as safetensors" in fails(tmp_path / "x.safetensors")


def test_no_torch_is_loaded(tmp_path) -> None:
    write_constant_router(tmp_path, "signs", [0.0, 1.0])
    code = (
        "import sys; from stages.tools import inspect\n"
        "for path in sys.argv[1:]: inspect.main([path])\n"
        "sys.exit('torch' in sys.modules)"
    )
    files = [str(tmp_path / f"signs.{suffix}") for suffix in ("json", "safetensors")]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"\x1b" not in done.stdout  # plain when piped


ODD = {
    "cmit that is no JSON": {"metadata": {"cmit": "{"}},
    "cmit of a list": {"metadata": {"cmit": "[]"}},
    "provenance that is no JSON": {"metadata": {"cmit": '{"provenance": "{"}'}},
    "inputs of a number": {"metadata": {"cmit": '{"provenance": "{\\"inputs\\": 3}"}'}},
}


@pytest.mark.parametrize("name", ODD)
def test_weights_that_say_odd_things(fails, tmp_path, name) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", **ODD[name])
    assert "x.safetensors: not readable as" in fails(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("adapter_config.json", "[]", "expected a JSON object"),
        ("adapter_config.json", '{"r": 4}', "is a required property"),
        ("training.json", '{"task": "t"}', "is a required property"),
        ("training.json", '{"task": "t", "rows": 1, "trainable_parameters": 1}', "lacks 'loss'"),
        ("provenance.json", '{"inputs": {"data": 3}}', "not readable as"),
        ("provenance.json", "\xff", "not readable as JSON"),
    ],
)
def test_an_expert_with_a_damaged_file(fails, tmp_path, file, content, message) -> None:
    linear = "base_model.model.layers.0.o_proj"
    tensors = {
        f"{linear}.lora_A.weight": torch.ones(1, 2),
        f"{linear}.lora_B.weight": torch.ones(2, 1),
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": "b", "r": 1, "lora_alpha": 1}
    config |= {"lora_dropout": 0.0, "target_modules": ["layers.0.o_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / file).write_bytes(content.encode("latin-1"))
    assert message in fails(tmp_path)

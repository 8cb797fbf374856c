"""The plan of a run: sizes, steps, jobs, and where its numbers come from."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import load_config
from stages.core.base.errors import InputError
from stages.core.costs.gpus import GPUS, Gpu
from stages.tools.plan import main
from tests.helpers import cmit_tree

ROOT = Path(__file__).parents[2]
CMIT = ROOT / "data_manifests" / "cmit"


def planned(capsys, *flags):
    main([*flags, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The plan of the paper's setting without any file of it."""
    from stages.tools.plan import plan_costs

    config = load_config(ROOT / "workflow" / "config" / "cmit.yaml")
    config["output"] = str(tmp_path_factory.mktemp("none"))
    config["manifests"] = str(tmp_path_factory.mktemp("manifests") / "cmit")
    shutil.copytree(CMIT, config["manifests"])
    options = {"gpu": "a100", "gpus": 8, "mfu": 0.25, "wait": 10}
    return plan_costs(config, "dmole", "internvl2-2b", **options)


def test_the_papers_rows_and_steps(paper):
    tasks = {task["task"]: task for task in paper["tasks"]}
    assert sum(task["train"]["rows"] for task in tasks.values()) == 924_192
    assert sum(task["steps"] for task in tasks.values()) == 15_224  # as the paper counts
    assert tasks["skvg"]["steps"] == 5 * 293  # 23,404 rows by 80
    assert {task["train"]["origin"] for task in tasks.values()} == {"assumed"}


def test_an_assumed_row_is_its_manifests(paper):
    skvg = next(task for task in paper["tasks"] if task["task"] == "skvg")
    # 1920 x 804 is cut into two tiles and the thumbnail, 256 tokens each; a template of 50
    assert skvg["train"]["tiles"] == 3
    assert skvg["train"]["tokens"] == 3 * 256 + 50 + 160 + 22
    assert skvg["train"]["prompt"] == 3 * 256 + 50 + 160


def test_hours_follow_from_operations(paper):
    for task in paper["tasks"]:
        stage = task["stages"]["train_expert"]
        per_sample = sum(
            sum(stage[f"{direction}_per_sample"].values()) for direction in ("forward", "backward")
        )
        rows = task["train"]["rows"] * task["epochs"]
        assert stage["flops"] == pytest.approx(rows * per_sample)
        assert stage["gpu_hours"] == pytest.approx(rows * per_sample / (312e12 * 0.25 * 3600))
        assert task["training_hours"] == pytest.approx(stage["gpu_hours"] / 8)
        published = task["published"]
        assert task["implied_mfu"] == pytest.approx(
            stage["flops"] / (published["hours"] * 3600 * 8 * 312e12)
        )
    profile = paper["tasks"][0]["stages"]["profile_gradients"]
    assert profile["samples"] == 1172  # 1 % of 117,155


def test_every_stage_of_the_papers_setting_fits_forty_gigabytes(paper):
    stages = [stage for task in paper["tasks"] for stage in task["stages"].items()]
    assert len(stages) == 9 * 5
    for name, entry in stages:
        assert entry["fits"], name
        assert entry["memory"]["total"] < 0.85 * 40e9
        assert entry["at_a_time"] == 2 if name == "train_expert" else entry["at_a_time"] >= 1
        assert not entry["checkpointing"]


def test_the_memory_of_the_papers_expert(paper):
    """Every second slot of each tower at rank 8: 12 blocks with both slots. What learns shares the
    A of q, k and v (preset paper); a parent's is loaded with an A for each."""
    first, second = (task["stages"]["train_expert"]["memory"] for task in paper["tasks"][:2])
    vision = 12 * (8 * (1024 + 3072) + 8 * 2048)
    language = 12 * (8 * (2048 + 4096) + 8 * 4096)
    parent = 12 * (3 * 8 * 2048 + 8 * 2048) + 12 * (8 * (4096 + 2 * 3072) + 8 * 4096)
    assert first["gradients"] == 4 * (vision + language)
    assert first["optimiser"] == 8 * (vision + language)
    assert (first["experts"], second["experts"]) == (
        4 * (vision + language),
        4 * (vision + language + parent),
    )
    assert first["weights"] == 2 * paper["backbone"]["parameters"]


def test_the_longest_path_is_one_training_after_the_other(paper):
    hours = paper["path"]["hours"]
    assert hours["training"] == pytest.approx(sum(t["training_hours"] for t in paper["tasks"]))
    assert hours["queue"] == pytest.approx((2 + 2 + 9) * 10 / 60)
    assert hours["all"] == pytest.approx(sum(v for k, v in hours.items() if k != "all"))
    parts = {part: value for part, value in hours.items() if part != "all"}
    assert paper["path"]["bottleneck"] == max(parts, key=parts.get)


def test_energy_is_gpu_hours_at_the_boards_most(paper):
    hours = sum(s["gpu_hours"] for t in paper["tasks"] for s in t["stages"].values())
    assert paper["kilowatt_hours"] == pytest.approx(0.4 * hours)


def test_keys_that_lower_the_memory_of_training(paper):
    """Of 2.21 billion weights 1.51 lie in the language model's blocks."""
    plain, again, quantised, divided = paper["other_keys"]
    blocks = 24 * (2 * 2048**2 + 2 * 1024 * 2048 + 3 * 2048 * 8192)
    rest = paper["backbone"]["parameters"] - blocks
    assert plain["memory"]["weights"] == again["memory"]["weights"] == 2 * (rest + blocks)
    assert quantised["memory"]["weights"] == pytest.approx(2 * rest + (0.5 + 4 / 64) * blocks)
    # an eighth, the block that computes and the next one
    assert divided["memory"]["weights"] == pytest.approx(2 * (rest + blocks / 8 + 2 * blocks / 24))
    assert (plain["checkpointing"], again["checkpointing"]) == (False, True)
    assert {entry["at_a_time"] for entry in paper["other_keys"]} == {2}
    totals = [entry["memory"]["total"] for entry in paper["other_keys"]]
    assert min(totals) == again["memory"]["total"]
    assert max(totals) == plain["memory"]["total"]


def test_every_shipped_shape_is_planned(capsys):
    for backbone, slots in (("qwen2.5-vl-3b", 2 * (32 + 36)), ("llava-1.5-7b", 2 * (24 + 32))):
        plan = planned(capsys, "--config", "cmit", "--gpu", "l40s", "--backbone", backbone)
        assert (plan["backbone"]["name"], plan["backbone"]["slots"]) == (backbone, slots)
        assert len(plan["tasks"]) == 9


def test_what_does_not_fit_is_told(capsys, monkeypatch):
    """Weights alone take 4.4 GB; two samples more than a tenth of that even with checkpointing."""
    monkeypatch.setitem(GPUS, "rtx4090", Gpu(165e12, 5.2e9, 1e12))
    main(["--config", "cmit", "--gpu", "rtx4090"])
    said = capsys.readouterr().out.splitlines()
    assert any("GB of the GPU's 5.2" in line for line in said)
    rows = [line for line in said if "fit" in line.split() or "fits" in line.split()]
    fits = {row.split()[0]: "does not fit" not in row for row in rows if "_" in row.split()[0]}
    assert fits.pop("train_expert") is False
    assert fits["extract_features"] is True
    training = next(row for row in rows if row.split()[0] == "train_expert")
    assert training.split()[2] == "on"  # checkpointing


def test_the_jobs_of_nine_tasks_and_two_methods(paper):
    assert paper["jobs"]["by_rule"] == {
        "prepare_data": 18,
        "profile_gradients": 9,
        "extract_features": 18,
        "fit_router": 9,
        "train_expert": 18,
        "predict_backbone": 9,
        "predict": 18,
    }
    assert paper["jobs"]["longest_chain"] == 2 + 2 + 9
    assert paper["jobs"]["waiting_in_all"] == 990


def test_the_jobs_of_the_tiny_run_are_those_that_snakemake_plans():
    """Counts as in tests/workflow/test_dag.py, without local rules."""
    from stages.core.costs.queue import jobs
    from stages.core.runs.runs import Runs

    counts = jobs(Runs(load_config(ROOT / "workflow" / "config" / "tiny.yaml")), 1)["by_rule"]
    assert counts == {
        "prepare_data": 6,
        "profile_gradients": 3,
        "extract_features": 6,
        "fit_router": 3,
        "train_expert": 9,
        "predict_backbone": 3,
        "predict": 15,
    }


def test_rows_are_counted_in_the_users_files_or_in_prepared_tables(tmp_path, tiny_folder, capsys):
    from stages.core.data.manifests import load_manifest
    from stages.prepare_data import prepare_data

    cmit_tree.write_tree(tmp_path, rows=5)
    shutil.copytree(CMIT, tmp_path / "data_manifests" / "cmit")
    config = {
        "stream": "own",
        "output": str(tmp_path / "results"),
        "manifests": str(tmp_path / "data_manifests" / "cmit"),
        "tasks": ["ocrvqa", "skvg"],
        "methods": ["seq_ft"],
        "backbone": {"path": str(tiny_folder), "max_tiles": 1},
        "training": {"batch_size": 2},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    manifest = load_manifest(tmp_path / "data_manifests/cmit/skvg.yaml")
    table = tmp_path / "results/own/data/skvg/train.parquet"
    prepare_data(manifest, "train", 10**6, table)
    found = planned(capsys, "--config", str(tmp_path / "own.yaml"))
    covers, boxes = found["tasks"]
    assert (covers["train"]["origin"], boxes["train"]["origin"]) == (
        "source files",
        "prepared table",
    )
    assert (boxes["test"]["origin"], boxes["train"]["rows"], boxes["steps"]) == (
        "source files",
        5,
        3,
    )
    assert "profile_gradients" not in covers["stages"]
    assert found["jobs"]["longest_chain"] == 1 + 2 + 1  # prepare, two trainings, predict
    # All answers of a conversation with several turns are predicted, a token per byte and an end.
    first = json.loads((tmp_path / "data/ocrvqa/train.jsonl").read_text().splitlines()[0])
    answers = [turn["value"] for turn in first["conversations"] if turn["from"] == "gpt"]
    assert len(answers) > 1
    assert covers["train"]["answer"] >= sum(len(answer) + 1 for answer in answers)


def test_rows_beyond_the_context_are_told(tmp_path, tiny_folder, capsys):
    """The tiny tokenizer makes a token of a byte, so one row of five exceeds 3,000 tokens."""
    backbone = tmp_path / "backbone"
    shutil.copytree(tiny_folder, backbone)
    settings = json.loads((backbone / "config.json").read_text())
    settings["text_config"]["max_position_embeddings"] = 3000
    (backbone / "config.json").write_text(json.dumps(settings))
    cmit_tree.write_tree(tmp_path, rows=5)
    shutil.copytree(CMIT, tmp_path / "data_manifests" / "cmit")
    file = tmp_path / "data/ocrvqa/train.jsonl"
    first, *others = file.read_text().splitlines()
    row = json.loads(first)
    row["conversations"][0]["value"] += "w" * 5000
    file.write_text("\n".join([json.dumps(row), *others]))
    config = {
        "stream": "own",
        "output": str(tmp_path / "results"),
        "manifests": str(tmp_path / "data_manifests" / "cmit"),
        "tasks": ["ocrvqa"],
        "methods": ["seq_ft"],
        "backbone": {"path": str(backbone), "max_tiles": 1},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    task = planned(capsys, "--config", str(tmp_path / "own.yaml"))["tasks"][0]
    assert (task["train"]["beyond"], task["test"]["beyond"]) == (0.2, 0)
    main(["--config", str(tmp_path / "own.yaml")])
    assert "ocrvqa, train: 20 % of its 5 rows" in " ".join(capsys.readouterr().out.split())


def test_an_allocation_that_was_made_decides(tmp_path, tiny_folder):
    from stages.core.backbone.architecture import read_architecture
    from stages.core.base.artifacts import write_json
    from stages.core.costs.estimate import Forecast, Machine, assumed_allocation
    from stages.core.runs.runs import Runs

    config = load_config(ROOT / "workflow" / "config" / "tiny.yaml")
    config |= {"output": str(tmp_path), "methods": ["dmole"], "variants": {}}
    arch, _ = read_architecture(tiny_folder, config["backbone"])
    found = Forecast(Runs(config), "dmole", arch, Machine("a100", GPUS["a100"], 1, 0.5))
    task, *others = config["tasks"]
    content = assumed_allocation(config, arch.slots)
    assert sum(slot["allocated"] for slot in content["slots"]) == content["budget"]
    for slot in content["slots"]:
        slot["allocated"] = (slot["tower"], slot["block"], slot["slot"]) == ("llm", 1, "o")
    file = tmp_path / config["stream"] / "seed0" / "allocations" / f"{task}.json"
    write_json("allocation", file, content | {"provenance": {}})
    assert set(found.ranks(task)) == {("llm", 1, "o")}
    assert len(found.ranks(others[0])) == content["budget"]
    assert found.learning(task).frozen == {}  # the first task has no parent
    assert found.learning(others[0]).frozen == found.ranks(others[0])


def test_tables_say_what_is_assumed(tmp_path, capsys):
    main(["--config", "cmit", "--gpus", "4", "--gpu", "h100", "--mfu", "0.5"])
    said = capsys.readouterr().out
    assert "4 x h100 per training job" in said
    assert "four characters are taken for a token" in said
    assert "99 " in said and "15,224" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config", "cmti"], "unknown configuration 'cmti'. Did you mean 'cmit'"),
        (["--config", "cmit", "--method", "dmoel"], "unknown method or variant 'dmoel'"),
        (["--config", "cmit", "--method", "cram"], "cram trains otherwise"),
        (["--config", "cmit", "--method", "replay"], "replay trains otherwise"),
        (["--config", "cmit", "--mfu", "35"], "--mfu above 0"),
        (["--config", "cmit", "--backbone", "nowhere"], "nowhere has no config.json"),
    ],
)
def test_bad_input(flags, message):
    with pytest.raises(InputError, match=message):
        main(flags)


def test_unknown_rows_are_an_error(tmp_path):
    from stages.core.costs.workload import workload
    from stages.core.data.manifests import load_manifest

    content = yaml.safe_load((CMIT / "kvqa.yaml").read_text())
    del content["typical"]
    (tmp_path / "kvqa.yaml").write_text(yaml.safe_dump(content | {"root": "."}))
    manifest = load_manifest(tmp_path / "kvqa.yaml")
    with pytest.raises(InputError, match="how many rows there are"):
        workload(manifest, "train", tmp_path / "none", None, limit=None, max_pixels=1)

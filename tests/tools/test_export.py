"""cmit export: a folder that stands alone gives the run's answers, with this package and PEFT."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts
from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.experts.lora import ExpertModel
from stages.core.model.continual import ContinualModel
from stages.core.model.exported import ExportedSource
from stages.core.runs.find_run import find_run
from stages.tools import cmit
from stages.tools.export import export
from stages.tools.model_card import Facts, card
from tests.helpers.finished_run import TASKS

METHODS = ["dmole", "seq_ft", "cram", "prog_lora_dynamic", "individual"]
SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 2}


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    """One export a method."""
    folder = tmp_path_factory.mktemp("exported")
    for name in METHODS:
        cmit.main(["export", str(small_run), str(folder / name), "--method", name])
    return folder


def rows(root: Path, task: str, count: int = 12) -> list[dict]:
    table = artifacts.read_table("data", root / f"data/{task}/test.parquet")
    return table.to_pylist()[:count]


def questions(root: Path) -> list[tuple]:
    return [
        (row["images"][0]["bytes"], row["turns"][0]["question"], task)
        for task in TASKS
        for row in rows(root, task)
    ]


@pytest.mark.parametrize("method", METHODS)
def test_the_folder_answers_as_the_run(small_run, exported, tmp_path, method: str) -> None:
    """Moved elsewhere, so that it can hold no path of its own."""
    moved = tmp_path / "moved"
    shutil.copytree(exported / method, moved)
    asked = questions(small_run)
    found = ContinualModel.load(moved).ask_many(asked)
    want = ContinualModel.load(small_run, method=method).ask_many(asked)
    assert [(a.text, a.experts) for a in found] == [(a.text, a.experts) for a in want]
    for one, other in zip(found, want, strict=True):
        assert one.ratios == pytest.approx(other.ratios, rel=1e-6)


def test_plain_peft_gives_the_same_logits(small_run, exported) -> None:
    for task in TASKS:
        backbone = load_backbone(load_path(small_run), SETTINGS)
        model = ExpertModel(backbone)
        model.load(task, small_run / f"seed0/dmole/experts/{task}")
        examples = [backbone.prompter.generation_example(row) for row in rows(small_run, task, 3)]
        batch = backbone.prompter.collate(examples)
        batch.pop("sample_id")
        with torch.no_grad(), model.using([task]) as active:
            want = active(**batch).logits
        folder = exported / "dmole/experts" / task
        config = json.loads((folder / "adapter_config.json").read_text())
        base = AutoModelForImageTextToText.from_pretrained(
            config["base_model_name_or_path"], dtype=torch.float32, attn_implementation="eager"
        )
        plain = PeftModel.from_pretrained(base, folder).eval()
        with torch.no_grad():
            assert torch.equal(plain(**batch).logits, want)


def test_two_experts_as_the_card_says(small_run, exported) -> None:
    """The card's own lines, run; they end with the last expert beside its parent."""
    parents = json.loads((exported / "dmole/model.json").read_text())["routers"]
    pair = [TASKS[-1], parents[TASKS[-1]]["parent"]]
    assert pair[1] is not None
    readme = (exported / "dmole/README.md").read_text()
    code = readme.split("```python\n")[-1].split("```")[0]
    names: dict = {}
    exec(code.replace("THIS_FOLDER", str(exported / "dmole")), names)
    backbone = load_backbone(load_path(small_run), SETTINGS)
    model = ExpertModel(backbone)
    for task in pair:
        model.load(task, exported / "dmole/experts" / task)
    batch = backbone.prompter.collate(
        [backbone.prompter.generation_example(row) for row in rows(small_run, TASKS[-1], 2)]
    )
    batch.pop("sample_id")
    with torch.no_grad(), model.using(pair) as active:
        want = active(**batch).logits
        got = names["model"].eval()(**batch).logits
        model.activate(pair[:1])
        alone = active(**batch).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(alone, want, atol=1e-2)


def load_path(root: Path) -> str:
    return json.loads((root / "runs.json").read_text())["config"]["backbone"]["path"]


def test_what_is_in_the_folder(small_run, exported) -> None:
    def listed(name: str) -> set[str]:
        return {str(p.relative_to(exported / name)) for p in (exported / name).rglob("*")}

    common = {"README.md", "model.json", "config.yaml", "experts"}
    assert common | {"routers.safetensors"} < listed("dmole")
    assert {f"experts/{t}/adapter_model.safetensors" for t in TASKS} < listed("dmole")
    assert common < listed("seq_ft")
    assert {p for p in listed("seq_ft") if p.startswith("experts/")} == {
        "experts/tiny_ground",
        *(f"experts/tiny_ground/{file.name}"
          for file in (small_run / "seed0/seq_ft/experts/tiny_ground").iterdir()),
    }  # fmt: skip
    assert "experts/tiny_ground/mixture.safetensors" in listed("cram")
    assert "routers.safetensors" not in listed("cram")
    config = yaml.safe_load((exported / "dmole/config.yaml").read_text())
    assert complete(config, "config.yaml")["tasks"] == TASKS


def test_the_backbone_is_named_as_others_find_it(small_run, tmp_path) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    sheet = json.loads((root / "runs.json").read_text())
    named = {"hub_id": "someone/tiny-vlm", "revision": "0" * 40}
    sheet["config"]["backbone"] |= named
    (root / "runs.json").write_text(json.dumps(sheet))
    out = tmp_path / "out"
    export(*find_run(root, "dmole"), out)
    config = json.loads((out / "experts/tiny_choice/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/tiny-vlm"
    assert config["revision"] == "0" * 40
    readme = (out / "README.md").read_text()
    assert readme.startswith("---\nbase_model: someone/tiny-vlm\nlibrary_name: peft\n")
    assert f'from_pretrained("someone/tiny-vlm", revision="{"0" * 40}", dtype="float32")' in readme
    assert ExportedSource(out).backbone == load_path(small_run)  # as long as it is there
    notes = json.loads((out / "model.json").read_text())
    notes["config"]["backbone"]["path"] = "gone"
    (out / "model.json").write_text(json.dumps(notes))
    assert ExportedSource(out).backbone == "someone/tiny-vlm"


def test_the_card_tells_the_scores(small_run, exported) -> None:
    readme = (exported / "seq_ft/README.md").read_text()
    scores = artifacts.read_table("scores", small_run / "scores.parquet").to_pylist()
    metrics = json.loads((small_run / "metrics.json").read_text())
    mine = [row for row in scores if row["method"] == "seq_ft"]
    for row in mine:
        if row["step"] == 3:
            interval = f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
            number = TASKS.index(row["task"]) + 1
            assert f"| {number} {row['task']} | {row['metric']} | {interval} | 34 |" in readme
    for step, label in enumerate(["0 (the untouched backbone)", "1 tiny_caption"]):
        values = [
            f"{r['value']:.1f}" for t in TASKS for r in mine if (r["step"], r["task"]) == (step, t)
        ]
        assert f"| {label} | {' | '.join(values)} |" in readme
    run = next(run for run in metrics["runs"] if run["method"] == "seq_ft")
    assert f"{run['metrics']['bwt']['value']:.2f}" in readme
    assert "One seed, hence no intervals" in readme
    assert "## Limits" in readme and "cmit ask THIS_FOLDER" in readme
    assert "PEFT has no such layer" in (exported / "cram/README.md").read_text()
    assert 'task="tiny_caption"' in (exported / "individual/README.md").read_text()


def test_a_folder_that_holds_something_stays_as_it_is(small_run, tmp_path) -> None:
    run = find_run(small_run, "seq_ft")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="full: is not empty"):
        export(*run, full)
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="is a file"):
        export(*run, full / "mine.txt")
    with pytest.raises(InputError, match="lies below a file"):
        export(*run, full / "mine.txt/deeper")
    empty = tmp_path / "empty"
    empty.mkdir()
    export(*run, empty)
    assert (empty / "model.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]  # no drafts


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("seed0/dmole/experts/tiny_choice", "the expert of tiny_choice is missing"),
        ("seed0/routers/tiny_choice.safetensors", "the router_weights of tiny_choice is missing"),
        ("metrics.json", "its metrics are missing"),
        ("scores.parquet", "its scores are missing"),
    ],
)
def test_a_run_that_is_half_finished(small_run, tmp_path, gone: str, told: str) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(root / gone) if (root / gone).is_dir() else (root / gone).unlink()
    with pytest.raises(InputError, match=told):
        export(*find_run(root, "dmole"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_never_scored(small_run, tmp_path) -> None:
    """As after a seed or method was added to a configuration whose scores were there."""
    root = shutil.copytree(small_run, tmp_path / "run")
    metrics = json.loads((root / "metrics.json").read_text())
    metrics["runs"] = [run for run in metrics["runs"] if run["method"] != "dmole"]
    (root / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"metrics\.json: .* no metrics of dmole, seed 0"):
        export(*find_run(root, "dmole"), tmp_path / "out")


def test_several_seeds_give_intervals(small_run) -> None:
    """Two seeds, mean 10 and deviation 2: t(0.975, 1) = 12.706, times 2 / sqrt 2."""
    found = json.loads((small_run / "metrics.json").read_text())
    key = next(iter(found["definitions"]))
    facts = Facts(
        "dmole", "dmole", 0, "s", {"path": "p", "revision": None, "dtype": "auto", "max_tiles": 1},
        tasks=[{"name": "t", "metric": "iou", "min_new_tokens": 1, "max_new_tokens": 2}],
        scores=[], metrics={"metrics": {key: {"value": 8.0}}},
        summary={"seeds": [0, 1], "metrics": {key: {"mean": 10.0, "std": 2.0}}},
        definitions=found["definitions"], sources={}, licence=None, experts=["t"], parent=None,
        peft=True, told=False,
    )  # fmt: skip
    assert "| 8.00 | 10.00 ± 17.97 |" in card(facts)
    assert "no intervals" not in card(facts)


def test_the_card_is_fit_for_the_hub(small_run, tmp_path) -> None:
    """Its front matter is what huggingface_hub reads; licences are those of the sources."""
    root = shutil.copytree(small_run, tmp_path / "run")
    backbone = tmp_path / "backbone"
    shutil.copytree(load_path(small_run), backbone)
    (backbone / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    sheet = json.loads((root / "runs.json").read_text())
    sheet["config"]["backbone"]["path"] = str(backbone)
    sheet["sources"]["tiny_choice"] = {"name": "shapes", "version": "2", "licence": "CC0"}
    del sheet["sources"]["tiny_ground"]
    (root / "runs.json").write_text(json.dumps(sheet))
    export(*find_run(root, "dmole"), tmp_path / "out")
    read = ModelCard.load(tmp_path / "out/README.md")
    assert read.data.to_dict() == {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["continual-learning", "multimodal", "dmole"],
    }
    assert "- backbone: mit\n" in read.text
    assert "- data of tiny_choice: CC0 (shapes 2)\n" in read.text
    assert "- data of tiny_ground: not recorded\n" in read.text
    assert 'dtype="float32")' in read.text  # that of the run's configuration
    (backbone / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(InputError, match=r"README\.md: its front matter is faulty"):
        export(*find_run(root, "dmole"), tmp_path / "other")


def test_equal_runs_give_equal_bytes(small_run, exported, tmp_path) -> None:
    again = tmp_path / "again"
    cmit.main(["export", str(small_run), "--method", "dmole", str(again)])
    first = exported / "dmole"
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert all((first / file).read_bytes() == (again / file).read_bytes() for file in files)

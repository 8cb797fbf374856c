"""cmit export --merge: a plain checkpoint whose logits are those of the expert set."""

import json
import re
import shutil

import pytest
import torch
from transformers import AutoModelForImageTextToText

from stages.core.backbone.load import load_backbone
from stages.core.base import artifacts
from stages.core.experts.lora import ExpertModel
from stages.tools import cmit
from tests.helpers.finished_run import TASKS

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 2}


def logits(root, experts: dict, batch_of=4):
    """Inputs, and what the backbone says of them with these experts (folder by name)."""
    config = json.loads((root / "runs.json").read_text())["config"]
    backbone = load_backbone(config["backbone"]["path"], SETTINGS)
    rows = artifacts.read_table("data", root / f"data/{TASKS[-1]}/test.parquet").to_pylist()
    prompter = backbone.prompter
    batch = prompter.collate([prompter.generation_example(row) for row in rows[:batch_of]])
    batch = backbone.to_device({k: v for k, v in batch.items() if k != "sample_id"})
    model = ExpertModel(backbone)
    for name, folder in experts.items():
        model.load(name, folder)
    with torch.no_grad(), model.using(list(experts)) as active:
        return batch, active(**batch).logits


@pytest.mark.parametrize("method", ["dmole", "seq_ft"])
def test_a_plain_checkpoint_gives_the_logits(small_run, tmp_path, capsys, method) -> None:
    out, task = tmp_path / "merged", TASKS[-1]
    cmit.main(["export", str(small_run), str(out), "--method", method, "--merge", task])
    transfer = json.loads((small_run / f"seed0/transfers/{task}.json").read_text())
    names = [task, transfer["parent"]] if method == "dmole" else [task]
    assert None not in names
    assert f"the backbone with {' + '.join(names)} in its weights" in capsys.readouterr().out
    folder = small_run / f"seed0/{method}/experts"
    batch, want = logits(small_run, {name: folder / name for name in names})
    _, bare = logits(small_run, {})
    plain = AutoModelForImageTextToText.from_pretrained(
        out, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        got = plain(**batch).logits
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(got, bare, atol=1e-2)
    assert {file.suffix for file in out.iterdir()} <= {".json", ".safetensors", ".jinja", ".md"}
    again = load_backbone(out, SETTINGS)  # as the backbone of another run
    with torch.no_grad():
        assert torch.equal(again.model(**batch).logits, got)
    assert " and ".join(names) in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--merge", "tiny_choise"], "--merge: unknown task 'tiny_choise'. Did you mean"),
        (["--merge", TASKS[0], "--method", "cram"], "cram, seed 0, of .*mixtures"),
        (["--merge", TASKS[0], "--method", "individual"], None),
    ],
)
def test_what_can_be_merged(small_run, tmp_path, capsys, words, told) -> None:
    out = tmp_path / "out"
    if told is None:
        cmit.main(["export", str(small_run), str(out), *words])
        assert f"with {TASKS[0]} in its" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit):
        cmit.main(["export", str(small_run), str(out), *words])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(told, error)
    assert not out.exists()


def test_a_half_finished_run_is_not_merged(small_run, tmp_path, capsys) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(root / f"seed0/dmole/experts/{TASKS[1]}")
    with pytest.raises(SystemExit):
        cmit.main(["export", str(root), str(tmp_path / "out"), "--merge", TASKS[0]])
    assert f"the expert of {TASKS[1]} is missing" in capsys.readouterr().err

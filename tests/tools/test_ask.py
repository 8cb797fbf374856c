"""cmit ask: answers as the model gives them, who spoke and why, and one sentence for bad input."""

import io
import json
import shutil
import sys

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.model.continual import ContinualModel
from stages.tools import ask, cmit
from tests.helpers.finished_run import TASKS


@pytest.fixture(scope="module")
def asked(small_run, tmp_path_factory):
    """(file of an image, question, task) of the first test row of every task."""
    folder, found = tmp_path_factory.mktemp("images"), []
    for task in TASKS:
        row = artifacts.read_table("data", small_run / f"data/{task}/test.parquet").to_pylist()[0]
        file = folder / f"{task}.png"
        file.write_bytes(row["images"][0]["bytes"])
        found.append((str(file), row["turns"][0]["question"], task))
    return found


def run(capsys, *words) -> str:
    cmit.main(["ask", *map(str, words)])
    return capsys.readouterr().out


def entries(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_several_pairs_as_json(capsys, small_run, asked) -> None:
    words = [word for image, text, _ in asked for word in (image, text)]
    found = entries(run(capsys, small_run, *words, "--json"))
    model = ContinualModel.load(small_run)
    for entry, (image, text, _) in zip(found, asked, strict=True):
        answer = model.ask(image, text)
        assert entry == {
            "image": image,
            "question": text,
            "task": None,
            "step": 3,
            "answer": answer.text,
            "experts": answer.experts,
            "ratios": answer.ratios,
        }


def test_lines_on_standard_input(capsys, small_run, asked, monkeypatch) -> None:
    lines = [{"image": image, "question": text, "task": task} for image, text, task in asked]
    text = "\n\n".join(map(json.dumps, lines)) + "\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    found = entries(run(capsys, small_run, "-", "--json", "--method", "individual"))
    assert [entry["experts"] for entry in found] == [[task] for task in TASKS]
    assert [entry["task"] for entry in found] == TASKS


def test_every_step(capsys, small_run, asked) -> None:
    image, text, task = asked[1]
    words = (small_run, image, text, "--json", "--all-steps", "--task", task)
    found = entries(run(capsys, *words, "--method", "seq_ft"))
    assert [(e["step"], e["experts"]) for e in found] == [
        (0, []), (1, [TASKS[0]]), (2, [TASKS[1]]), (3, [TASKS[2]]),
    ]  # fmt: skip
    one = entries(run(capsys, *words[:4], "--step", 2, "--task", task, "--method", "seq_ft"))
    assert one == found[2:3]
    own = entries(run(capsys, *words, "--method", "individual"))
    assert [(e["step"], e["experts"]) for e in own] == [(0, []), (2, [task])]


def test_who_speaks_and_why(capsys, small_run, asked) -> None:
    image, text, _ = asked[0]
    shown = run(capsys, small_run, image, text, "--all-steps")
    model = ContinualModel.load(small_run)
    assert shown.startswith(f"{image}: {text}\n  after step 0: ")
    assert shown.count("the untouched backbone") == 1
    answer = model.ask(image, text)
    for task, ratio in answer.ratios.items():
        assert f"{task} {ratio:.3g}" in shown
    assert f"{answer.experts[0]} has the lowest loss within its threshold" in shown
    shown = run(capsys, small_run, image, text, "--method", "cram")
    assert "tiny_ground: cram answers every question of a step with the same state" in shown


def test_nobody_is_within_a_threshold(capsys, small_run, asked, tmp_path) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    for file in (root / "seed0/routers").glob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"threshold": 1e-9}))
    shown = run(capsys, root, *asked[0][:2])
    assert "the backbone alone: no loss is within its threshold (loss / threshold: tiny_" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no.png", "What?"], "question 1: missing image: no.png: no such file."),
        (["IMAGE", ""], "question 1: it is empty"),
        (["README.md", "What?"], "question 1: unsupported image: README.md"),
        (["IMAGE"], "no question; give pairs"),
        (["IMAGE", "What?", "--task", "tiny"], "question 1: unknown task 'tiny'"),
        (["IMAGE", "What?", "--method", "cramm"], "unknown run 'cramm'. Did you mean 'cram'"),
        (["IMAGE", "What?", "--seed", "7"], "dmole was not run under seed 7"),
        (["IMAGE", "What?", "--step", "7"], "no step 7; its steps are 0 to 3"),
        (["IMAGE", "What?", "--method", "individual"], "told the task of every question"),
        (["IMAGE", "What?", "--backbone", "nowhere"], "backbone nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_sentence(capsys, small_run, asked, words, told) -> None:
    words = [asked[0][0] if word == "IMAGE" else word for word in words]
    with pytest.raises(SystemExit) as ended:
        run(capsys, small_run, *words)
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1 and error.startswith("error: ")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("no json", "line 2: not valid JSON"),
        ('["a", "b"]', "line 2: expected an object, found list"),
        ('{"image": "a.png"}', "line 2: question: expected text, found None"),
        ('{"image": 3, "question": "What?"}', "line 2: image: expected text, found 3"),
        ('{"imag": "a.png", "question": "?"}', "line 2: unknown key 'imag'. Did you mean 'image'"),
    ],
)
def test_bad_lines_are_named(line: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        ask.from_lines(['{"image": "a", "question": "b"}', line], None)
    assert told in str(raised.value)


def test_no_line_is_no_question() -> None:
    with pytest.raises(InputError, match="standard input: no question"):
        ask.from_lines(["", " \n"], None)


def test_a_missing_part_is_named(capsys, small_run, asked, tmp_path) -> None:
    root = shutil.copytree(small_run, tmp_path / "run")
    shutil.rmtree(root / "seed0/dmole/experts/tiny_choice")
    with pytest.raises(SystemExit):
        run(capsys, root, *asked[0][:2])
    assert "not finished, because the expert of tiny_choice is missing" in capsys.readouterr().err
    assert "tiny_caption" in run(capsys, root, *asked[0][:2], "--step", 1)


def test_all_steps_of_an_export_are_refused_before_the_backbone_is_loaded(
    capsys, small_run, asked, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "out"
    cmit.main(["export", str(small_run), str(out), "--method", "seq_ft"])
    monkeypatch.setattr(ContinualModel, "of", None)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        run(capsys, out, *asked[0][:2], "--all-steps")
    told = "no expert of tiny_caption, because an export holds only what answers after the last"
    assert f"error: {out}: {told}" in capsys.readouterr().err

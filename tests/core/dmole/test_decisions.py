"""Edits that fit the schema and make no sense are refused where they are read."""

import json
from pathlib import Path

import pytest

from stages.core.base.errors import InputError
from stages.core.dmole import decisions
from tests.helpers.decisions import allocation, router, transfer

SLOTS = {("vision", 0, "qkv"), ("vision", 0, "o"), ("llm", 0, "qkv")}
EXPERT = {"rank": 8, "alpha": 16, "dropout": 0.05}


def slot(tower: str, block: int, kind: str, allocated: bool = True) -> dict:
    rest = {"score": 1.0, "order": 1, "trainable_parameters": 64}
    return {"tower": tower, "block": block, "slot": kind, "allocated": allocated} | rest


def file(folder: Path, content: dict) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("parent", [None, "tiny_caption", "tiny_choice"])
def test_any_earlier_task_can_be_the_parent(tmp_path: Path, parent: str | None) -> None:
    path = file(tmp_path, transfer("tiny_ground", parent))
    found = decisions.read_transfer(path, "tiny_ground", ["tiny_caption", "tiny_choice"])
    assert found["parent"] == parent


@pytest.mark.parametrize("parent", ["tiny_choice", "tiny_ground", "elsewhere"])
def test_a_parent_is_learnt_before_its_child(tmp_path: Path, parent: str) -> None:
    path = file(tmp_path, transfer("tiny_choice", None) | {"parent": parent})
    with pytest.raises(InputError, match=rf"mine.json: parent: '{parent}' .*: tiny_caption, null"):
        decisions.read_transfer(path, "tiny_choice", ["tiny_caption"])


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (decisions.read_router, router("a")),
        (decisions.read_allocation, allocation("a")),
        (
            lambda path, task: decisions.read_transfer(path, task, []),
            transfer("tiny_caption", None),
        ),
    ],
)
def test_a_file_of_another_task(tmp_path: Path, read, content: dict) -> None:
    with pytest.raises(InputError, match=rf"of task '{content['task']}', expected 'b'"):
        read(file(tmp_path, content), "b")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "0", "-0.5"])
def test_a_threshold_is_finite_and_positive(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(router("a")).replace('"threshold": 1.5', f'"threshold": {text}'))
    with pytest.raises(InputError, match=r"mine\.json: threshold: "):
        decisions.read_router(path, "a")


def test_a_slot_is_given_once(tmp_path: Path) -> None:
    twice = [slot("vision", 0, "o"), slot("llm", 0, "qkv"), slot("vision", 0, "o", False)]
    path = file(tmp_path, allocation("a", *twice))
    with pytest.raises(InputError, match=r"mine\.json: slots: vision\.0\.o is given twice"):
        decisions.read_allocation(path, "a")


def test_what_fits_the_backbone_passes() -> None:
    content = allocation("a", *(slot(*key) for key in SLOTS))
    decisions.check_fit(content, Path("mine.json"), SLOTS, EXPERT)


def test_a_slot_that_the_backbone_does_not_have_is_named() -> None:
    content = allocation("a", slot("vision", 0, "o"), slot("vision", 1, "o", False))
    with pytest.raises(InputError, match=r"mine\.json: slots: unknown slot 'vision\.1\.o'"):
        decisions.check_fit(content, Path("mine.json"), SLOTS, EXPERT)


@pytest.mark.parametrize(("key", "value"), [("rank", 4), ("alpha", 8)])
def test_another_rank_or_scale_is_refused(key: str, value: int) -> None:
    content = allocation("a")
    content["expert"][key] = value
    with pytest.raises(InputError, match=rf"mine\.json: expert\.{key}: {value} in the allocation"):
        decisions.check_fit(content, Path("mine.json"), SLOTS, EXPERT)


def test_rounding_of_the_file_is_no_difference() -> None:
    content = allocation("a")
    content["expert"]["alpha"] = 16.1234568
    expert = EXPERT | {"alpha": 16.12345678901}
    decisions.check_fit(content, Path("mine.json"), SLOTS, expert)

"""An override is taken as it is, checked, and says where it comes from."""

import json
from pathlib import Path

import pytest

from stages import take_override
from stages.core.base import artifacts, cli, edits, provenance
from tests.core.runs.test_runs import TRANSFER


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file that a stage wrote, edited."""
    path = tmp_path / "mine.json"
    artifacts.write_json("transfer", path, TRANSFER | {"provenance": {"stage": "choose_parent"}})
    path.write_text(path.read_text().replace('"tiny_caption"', "null"))
    return path


def take(mine: Path, *earlier: str, task: str = "tiny_choice") -> Path:
    out = mine.with_name("out.json")
    argv = ["--artefact", "transfer", "--file", str(mine), "--task", task, "--out", str(out)]
    cli.run(take_override.main, [*argv, "--earlier", *earlier])
    return out


def test_the_content_is_that_of_the_file(mine: Path) -> None:
    found = artifacts.read_json("transfer", take(mine, "tiny_caption"))
    origin = found.pop("provenance")
    assert found.pop("content_sha256")
    assert found == {k: v for k, v in TRANSFER.items() if k != "provenance"} | {"parent": None}
    assert origin["stage"] == "take_override"
    assert origin["inputs"] == {"override": provenance.file_hash(mine)}


def test_the_copy_does_not_count_as_edited(mine: Path) -> None:
    assert edits.is_edited(mine)
    assert not edits.is_edited(take(mine, "tiny_caption"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parent": "tiny_ground"}, "parent: 'tiny_ground' is not learnt before 'tiny_choice'"),
        ({"task": "tiny_ground"}, "of task 'tiny_ground', expected 'tiny_choice'"),
        ({"losses": {"tiny_caption": float("nan")}}, "losses.tiny_caption: nan is no number"),
    ],
)
def test_what_makes_no_sense_is_refused(mine: Path, capsys, change: dict, message: str) -> None:
    mine.write_text(json.dumps(TRANSFER | change))
    with pytest.raises(SystemExit) as stop:
        take(mine, "tiny_caption")
    assert stop.value.code == 1
    assert message in capsys.readouterr().err
    assert not mine.with_name("out.json").exists()


def test_an_edited_copy_is_not_overwritten(mine: Path, capsys) -> None:
    out = take(mine, "tiny_caption")
    out.write_text(out.read_text().replace("null", '"tiny_caption"', 1))
    with pytest.raises(SystemExit):
        take(mine, "tiny_caption")
    assert "was edited" in capsys.readouterr().err

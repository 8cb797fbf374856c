"""Only edited artefacts are deleted, and all of them or none."""

import json
from pathlib import Path

import pytest

from stages.core.base import artifacts, cli
from stages.tools import discard_edits

TRANSFER = {
    "task": "b",
    "step": 2,
    "parent": "a",
    "losses": {"a": 0.5},
    "require_threshold": False,
    "thresholds": None,
    "provenance": {},
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "transfers/b.json"
    artifacts.write_json("transfer", path, TRANSFER)
    return path


@pytest.fixture
def edited(written: Path) -> Path:
    path = written.with_name("c.json")
    path.write_text(written.read_text().replace('"a"', "null", 1))
    return path


def refused(capsys, *paths: Path) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.run(discard_edits.main, [str(path) for path in paths])
    assert stop.value.code == 1
    return capsys.readouterr().err


def test_an_edited_file_is_deleted_and_named(edited: Path, capsys) -> None:
    discard_edits.main([str(edited), str(edited)])
    assert capsys.readouterr().out == f"deleted: {edited} (the next run makes it again)\n"
    assert not edited.exists()


def test_a_damaged_file_is_deleted_too(edited: Path) -> None:
    edited.write_text(edited.read_text()[:-20])
    discard_edits.main([str(edited)])
    assert not edited.exists()


def test_what_was_not_edited_stays_and_so_does_the_rest(written, edited, capsys) -> None:
    message = refused(capsys, edited, written)
    assert message == f"error: {written}: was not edited. Nothing was deleted.\n"
    assert written.exists() and edited.exists()


@pytest.mark.parametrize("name", ["runs/c.json", "transfers/c.txt", "transfers/notes.json"])
def test_other_files_are_refused(edited: Path, tmp_path: Path, capsys, name: str) -> None:
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    text = json.dumps({"mine": 1}) if "notes" in name else edited.read_text()
    other.write_text(text)
    message = refused(capsys, other)
    assert f"{name}: no artefact that people edit" in message
    assert "allocations, routers, transfers" in message
    assert other.exists()


def test_a_file_that_is_not_there(tmp_path: Path, capsys) -> None:
    assert "none.json: no such file" in refused(capsys, tmp_path / "none.json")

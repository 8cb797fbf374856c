"""What a job made before: moved aside, taken back or dropped, with its run times."""

from pathlib import Path

import pytest

from stages.core.base.before import aside, folder_content, move_aside, settle, take_back
from stages.core.base.errors import InputError

RECORD = {"stage": "x", "inputs": {"data": "1"}, "seed": 0, "device": "cpu", "versions": {"a": "1"}}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A folder that a job made, aside, and the file of its run times."""
    out, times = tmp_path / "expert", tmp_path / "times.tsv"
    out.mkdir()
    (out / "weights").write_text("before")
    times.write_text("3 hours")
    move_aside([out], times)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        ".expert.before",
        ".times.tsv.before",
    ]
    return out, times


def test_the_same_is_taken_back_with_its_run_times(made: tuple[Path, Path]) -> None:
    out, times = made
    elsewhere = RECORD | {"device": "cuda", "versions": {"a": "2"}}
    assert take_back(out, elsewhere, lambda folder: RECORD)
    times.write_text("2 seconds")
    settle([out], times)
    assert (out / "weights").read_text() == "before"
    assert times.read_text() == "3 hours"
    assert sorted(path.name for path in out.parent.iterdir()) == ["expert", "times.tsv"]


@pytest.mark.parametrize(
    "other", [{"inputs": {"data": "2"}}, {"inputs": {}}, {"seed": 1}, {"tasks": ["a"]}]
)
def test_another_is_made_anew_and_drops_the_old_one(made: tuple[Path, Path], other: dict) -> None:
    out, times = made
    assert not take_back(out, RECORD | other, lambda folder: RECORD)
    out.mkdir()
    times.write_text("4 hours")
    settle([out], times)
    assert list(out.iterdir()) == []
    assert times.read_text() == "4 hours"
    assert sorted(path.name for path in out.parent.iterdir()) == ["expert", "times.tsv"]


def test_what_was_edited_or_has_no_record_is_not_taken_back(made: tuple[Path, Path]) -> None:
    def refuse(folder: Path) -> dict:
        raise InputError(f"{folder}: is not as it was made.")

    assert not take_back(made[0], RECORD, refuse)


def test_a_job_that_failed_leaves_the_old_one_for_the_next_attempt(
    made: tuple[Path, Path],
) -> None:
    out, times = made
    move_aside([out], times)  # the next attempt finds no output
    assert (aside(out) / "weights").read_text() == "before"
    assert aside(times).read_text() == "3 hours"


def test_the_content_of_a_folder_is_its_files_without_record_and_time(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part/weights").write_text("a")
    first = folder_content(tmp_path)
    (tmp_path / "provenance.json").write_text("{}")
    (tmp_path / ".snakemake_timestamp").touch()
    assert folder_content(tmp_path) == first
    (tmp_path / "part/weights").write_text("b")
    assert folder_content(tmp_path) != first

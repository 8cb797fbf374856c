"""A folder that appears as a whole: what is in the way is named, and nothing is left behind."""

from pathlib import Path

import pytest

from stages.core.base.errors import InputError
from stages.tools.new_folder import new_folder


def test_the_folder_appears_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "a b" / "out"
    with new_folder(out) as draft:
        (draft / "file").write_text("text")
        assert not out.exists()
    assert [p.name for p in out.iterdir()] == ["file"]
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file/out: lies below a file"),
        new_folder(tmp_path / "file/out"),
    ):
        pass


def test_of_two_at_once_the_first_one_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="out: is not empty"), new_folder(out) as draft:
        (draft / "late").touch()
        out.mkdir()
        (out / "early").touch()
    assert [p.name for p in out.iterdir()] == ["early"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]

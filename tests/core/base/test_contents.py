"""Hashes of outside files: content decides, and a file is read once."""

import hashlib
import os
from pathlib import Path

import pytest

from stages.core.base import contents
from stages.core.base.contents import Contents


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_new_content_under_the_old_time_and_size_is_seen(tmp_path: Path) -> None:
    file, store = tmp_path / "rows.json", tmp_path / "store/contents.json"
    file.write_text("old")
    before = file.stat()
    assert Contents(store).hash(file) == digest("old")
    file.write_text("new")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Contents(store).hash(file) == digest("new")


def test_a_new_time_alone_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text("text")
    before = Contents(tmp_path / "store.json").hash(file)
    os.utime(file, (1, 1))
    assert Contents(tmp_path / "store.json").hash(file) == before


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, store = tmp_path / "rows.json", tmp_path / "store.json"
    file.write_text("text")
    found = Contents(store).hash(file)
    monkeypatch.setattr(contents, "file_hash", lambda path: pytest.fail("was read again"))
    assert Contents(store).hash(file) == found


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    folder, store = tmp_path / "folder", tmp_path / "store.json"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = Contents(store).hash(folder)
    (folder / "b").write_text("2")
    assert Contents(store).hash(folder) != before
    assert Contents(store).hash(tmp_path / "none") == ""


def test_a_damaged_store_is_no_obstacle(tmp_path: Path) -> None:
    file, store = tmp_path / "rows.json", tmp_path / "store.json"
    file.write_text("text")
    store.write_text("{")
    assert Contents(store).hash(file) == digest("text")

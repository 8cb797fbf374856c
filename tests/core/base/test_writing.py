"""A full disk in the words of every library that writes, and targets that are in the way."""

import errno
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.base.writing import make_folder, replacing, saving

BIG = torch.arange(300_000.0)  # over a megabyte


def parquet(path: Path) -> None:
    pq.write_table(artifacts.pa.table({"x": BIG.numpy()}), path)


WRITERS = {
    "text": lambda path: path.write_text("x" * 1_000_000),
    "parquet": parquet,
    "safetensors": lambda path: save_file({"a": BIG}, path),
    "torch": lambda path: torch.save(BIG, path),
    "torch, old format": lambda path: torch.save(BIG, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_and_left_as_it_was(small_disk: Path, writer: str) -> None:
    target = small_disk / "out" / "new"
    with pytest.raises(OSError, match="No space left on device") as raised, replacing(target) as at:
        WRITERS[writer](at)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(small_disk / "out")
    assert list((small_disk / "out").iterdir()) == []


@pytest.mark.parametrize("writer", WRITERS)
def test_the_file_of_before_is_kept(small_disk: Path, writer: str) -> None:
    target = small_disk / "kept"
    target.write_text("before")
    with pytest.raises(OSError, match="No space"), replacing(target) as draft:
        WRITERS[writer](draft)
    assert [(path.name, path.read_text()) for path in small_disk.iterdir()] == [("kept", "before")]


def test_a_quota_behind_an_error_of_another_library() -> None:
    with pytest.raises(OSError, match="quota") as raised, saving(Path("results/here")):
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError as error:
            raise RuntimeError("an error occurred while generating") from error
    assert raised.value.filename == "results/here"


@pytest.mark.parametrize("error", [InputError("no space"), RuntimeError("shape"), KeyError("x")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, saving(Path("results/here")):
        raise error
    assert raised.value is error


def test_a_folder_or_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder: a folder is where this file goes"):
        artifacts.write_table("predictions", tmp_path / "folder", [])
    with pytest.raises(InputError, match="file: a file is where this folder goes"):
        artifacts.write_table("predictions", tmp_path / "file" / "p.parquet", [])
    with pytest.raises(InputError, match="deep: a file is where this folder goes"):
        make_folder(tmp_path / "file" / "deep")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]

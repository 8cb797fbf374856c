"""Files that are damaged, odd or absent: one line that names the file."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from stages.core.base import artifacts, reading
from stages.core.base.errors import InputError


def fault(read, *arguments) -> str:
    with pytest.raises(InputError) as raised:
        read(*arguments)
    message = str(raised.value)
    assert str(arguments[-1]) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as JSON"),
        (b"\xff\xfe\x00", "not readable as JSON"),
        (b"{" * 100_000, "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"null", "expected a JSON object, found NoneType"),
    ],
)
def test_json_that_is_no_object(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    assert message in fault(reading.read_object, file)


def test_json_as_editors_save_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + '{"a": "ü"}'.encode())
    assert reading.read_object(tmp_path / "x.json") == {"a": "ü"}


def test_a_number_that_is_none_is_named_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"losses": {"a": NaN}}')
    assert "losses.a: nan" in fault(artifacts.read_json, "transfer", tmp_path / "x.json")


READERS = [reading.read_object, reading.read_weights, reading.weight_count, artifacts.metadata]


@pytest.mark.parametrize("read", READERS)
def test_a_folder_or_nothing_in_a_files_place(tmp_path: Path, read) -> None:
    assert "a folder, expected a file" in fault(read, tmp_path)
    assert "file not found" in fault(read, tmp_path / "gone")


def test_a_missing_key_is_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    content = reading.read_object(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"x\.json: lacks 'task'"):
        content["task"]


# --- Parquet -------------------------------------------------------------------------------------


def table(path: Path, cmit: bytes) -> Path:
    described = artifacts.PREDICTIONS.with_metadata({"cmit": cmit})
    pq.write_table(pa.Table.from_pylist([], schema=described), path)
    return path


@pytest.mark.parametrize(
    ("cmit", "message"),
    [
        (b"{", "not readable as Parquet"),
        (b"\xff", "not readable as Parquet"),
        (b"[]", "expected a JSON object"),
        (b"{}", "lacks 'schema'"),
        (b'{"schema": "predictions"}', "lacks 'version'"),
        (b'{"schema": "predictions", "version": 2}', "version 1, found 'predictions' version 2"),
    ],
)
def test_a_table_that_says_odd_things_of_itself(tmp_path: Path, cmit: bytes, message: str) -> None:
    path = table(tmp_path / "p.parquet", cmit)
    assert message in fault(artifacts.read_table, "predictions", path)


@pytest.mark.parametrize("task", [None, 3, ["t"], {"name": "t"}])
def test_a_table_without_the_name_of_its_task(tmp_path: Path, task) -> None:
    notes = {"schema": "predictions", "version": 1, "task": task}
    path = table(tmp_path / "p.parquet", json.dumps(notes).encode())
    assert "expected text" in fault(artifacts.task_of, path)
    assert "expected rows of a task" in fault(artifacts.task_record, path)


def test_the_task_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    artifacts.write_table("data", path, [], task={"name": "t", "kind": "captioning"})
    assert artifacts.task_of(path) == "t"
    assert artifacts.task_record(path)["kind"] == "captioning"
    with pytest.raises(InputError, match=r"d\.parquet: lacks 'metric'"):
        artifacts.task_record(path)["metric"]


def test_a_damaged_page_of_a_table(tmp_path: Path) -> None:
    """Every single byte of the pages turned over: the table is refused, or still the same."""
    path, refused = tmp_path / "p.parquet", 0
    rows = [{"sample_id": f"s{i}", "experts": ["a"], "text": "x" * i} for i in range(50)]
    artifacts.write_table("predictions", path, rows)
    whole = path.read_bytes()
    for place in range(4, 400, 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            artifacts.read_table("predictions", path).to_pylist()
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 50


# --- weights -------------------------------------------------------------------------------------


def headed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as safetensors"),
        (b"x" * 7, "not readable as safetensors"),
        (headed(b"{"), "not readable as safetensors"),
        (headed(b"[]"), "not readable as safetensors"),
        (headed(b'{"a": {"dtype": "F32"}}'), "not readable as safetensors"),
        (headed(b'{"__metadata__": {"cmit": "["}}'), "not readable as safetensors"),
        (headed(b"{}"), "holds no weights"),
        (headed(b'{"__metadata__": {"cmit": "{}"}}'), "holds no weights"),
    ],
)
def test_damaged_weights(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert message in fault(reading.read_weights, path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    path = tmp_path / "w.safetensors"
    bad = torch.full((3, 4), 60_000, dtype=dtype)  # whose sum is out of float16's range
    save_file({"good": bad.clone(), "whole": torch.arange(3), "none": torch.zeros(0)}, path)
    assert set(reading.read_weights(path)[0]) == {"good", "whole", "none"}
    bad[1, 2] = value
    save_file({"good": torch.ones(2), "bad": bad}, path)
    assert "bad holds a number that is not finite" in fault(reading.read_weights, path)


def test_weights_that_diverged_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"a holds a number that is not finite.*learning rate"):
        artifacts.write_weights(path, {"a": torch.tensor([1.0, np.nan])}, {})
    assert list(tmp_path.iterdir()) == []


def test_odd_notes_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"cmit": "[]"})
    assert "expected a JSON object" in fault(reading.read_weights, path)

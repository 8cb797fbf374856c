"""Files in .gz: sound, cut off, and something else under that name; nesting without end."""

import csv
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.manifests import Split
from stages.core.data.readers import formats
from stages.core.data.readers.record import from_mapping
from tests.helpers.splits import split

ROWS = [{"id": f"r{i}", "image": "a.png", "question": f"Q{i}?"} for i in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS)
TABLE = "id,image,question\n" + "".join(f"r{i},a.png,Q{i}?\n" for i in range(3))
COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "A."}],
    }
)


def packed(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()))
    return path


@pytest.mark.parametrize(
    ("form", "name", "text"),
    [
        ("vqa_jsonl", "t.jsonl.gz", LINES),
        ("llava_json", "t.json.gz", ARRAY),
        ("datasets", "t.jsonl.gz", LINES),
        ("datasets", "t.json.gz", LINES),
        ("datasets", "t.json.gz", ARRAY),
        ("datasets", "t.csv.gz", TABLE),
        ("datasets", "t.json", ARRAY),
        ("datasets", "t.json", "\ufeff \n" + LINES),
    ],
)
def test_rows_of_packed_files(tmp_path, form, name, text):
    path = tmp_path / name
    if name.endswith(".gz"):
        packed(path, text)
    else:
        path.write_text(text)
    rows = [row for _, row in formats.rows(split(path, form))]
    assert [row["question"] for row in rows] == ["Q0?", "Q1?", "Q2?"]


def test_coco_and_vizwiz_in_gz(tmp_path):
    path = packed(tmp_path / "coco.json.gz", COCO)
    assert [row["captions"] for _, row in formats.rows(split(path, "coco_captions"))] == [["A."]]
    answers = [{"answer": str(k)} for k in range(10)]
    notes = {"annotations": [{"question_id": 1, "answers": answers}]}
    notes_path = packed(tmp_path / "answers.json.gz", json.dumps(notes))
    rows = packed(tmp_path / "val.jsonl.gz", '{"question_id": 1, "image": "a", "question": "Q"}\n')
    ((_, row),) = formats.rows(split(rows, "vizwiz", annotations=notes_path))
    assert row["answer"] == [str(k) for k in range(10)]


@pytest.mark.parametrize("name", ["train.jsonl.gz", "train.csv.gz", "train.csv", "train.jsonl"])
def test_text_files_of_a_folder_are_read_as_single_ones(tmp_path, name):
    rows = [{"id": "007", "image": "a.png", "question": "2024-01-01"}]
    text = json.dumps(rows[0]) + "\n"
    if ".csv" in name:
        text = "id,image,question\n007,a.png,2024-01-01\n"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(gzip.compress(text.encode()) if ".gz" in name else text.encode())
    found = list(formats.rows(split(folder, "datasets")))
    assert [row for _, row in found] == rows
    assert found[0][0] == f"{folder / name}:{2 if '.csv' in name else 1}"


# --- damage --------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])


def false(path: Path) -> None:
    path.write_text("no gzip at all")


def corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[10] = 0xFF  # behind the header: a kind of block that does not exist
    path.write_bytes(data)


DAMAGES = [cut, false, corrupt]


def faults(source: Split) -> list[tuple[str, RowError]]:
    return [(where, row) for where, row in formats.rows(source) if isinstance(row, RowError)]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("form", "name", "text"),
    [
        ("vqa_jsonl", "t.jsonl.gz", LINES),
        ("llava_json", "t.json.gz", ARRAY),
        ("datasets", "t.jsonl.gz", LINES),
        ("datasets", "t.json.gz", ARRAY),
    ],
)
def test_a_damaged_gz_is_a_fault_that_names_the_place(
    tmp_path, damage: Callable[[Path], None], form, name, text
):
    path = packed(tmp_path / name, text)
    damage(path)
    ((where, fault),) = faults(split(path, form))
    assert where == str(path)
    assert fault.kind == "broken gzip"
    assert str(fault).startswith(f"{path}:")


def test_the_sound_lines_in_front_of_a_cut_count(tmp_path):
    lines = "".join(json.dumps({"id": i, "x": os.urandom(400).hex()}) + "\n" for i in range(1000))
    path = packed(tmp_path / "t.jsonl.gz", lines)
    path.write_bytes(path.read_bytes()[:200_000])
    *sound, (_, fault) = formats.rows(split(path, "vqa_jsonl"))
    assert [raw["id"] for _, raw in sound] == list(range(len(sound)))
    assert len(sound) > 200
    assert str(fault).startswith(f"{path}:{len(sound) + 1}: ")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_gz_that_is_read_whole(tmp_path, damage):
    path = packed(tmp_path / "coco.json.gz", COCO)
    damage(path)
    with pytest.raises(InputError, match=r"coco\.json\.gz: broken gzip"):
        list(formats.rows(split(path, "coco_captions")))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_names_file_and_line(tmp_path, damage):
    path = packed(tmp_path / "t.csv.gz", TABLE)
    damage(path)
    with pytest.raises(InputError, match=r"t\.csv\.gz:\d: broken gzip"):
        list(formats.rows(split(path, "datasets")))


def test_a_damaged_file_of_a_folder_leaves_the_others(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    false(folder / "train-1.jsonl.gz")
    packed(folder / "train-2.jsonl.gz", LINES)
    (where, fault), *rest = formats.rows(split(folder, "datasets"))
    assert (where, fault.kind) == (str(folder / "train-1.jsonl.gz"), "broken gzip")
    assert len(rest) == 3


# --- nesting -------------------------------------------------------------------------------------

DEEP = "[" * 10**5


def test_deep_lines_arrays_and_files_are_faults(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n{"a": ' + DEEP + "\n")
    (_, first), (_, second) = formats.rows(split(path, "vqa_jsonl"))
    assert first == {"a": 1}
    assert second.kind == "broken JSON"
    path.write_text("[" + DEEP)
    ((_, fault),) = formats.rows(split(path, "llava_json"))
    assert fault.kind == "broken JSON"
    with pytest.raises(InputError, match="nested too deeply"):
        list(formats.rows(split(path, "coco_captions")))


def test_a_deep_conversation_in_a_table_is_a_fault():
    with pytest.raises(RowError, match="nested too deeply"):
        from_mapping({"conversations": DEEP}, {"conversations": "conversations"})


def test_a_long_cell_is_a_fault_of_its_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,question\n1," + "x" * (csv.field_size_limit() + 1) + "\n")
    with pytest.raises(InputError, match="not readable as CSV: field larger"):
        list(formats.rows(split(path, "datasets")))

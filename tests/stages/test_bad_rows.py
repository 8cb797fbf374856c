"""Manifests, rows and images with one fault each: prepare_data names it and writes nothing."""

import io
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from stages import prepare_data
from tests.helpers.refusals import refused, succeeds


def picture(form: str = "PNG", size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, form)
    return stream.getvalue()


MANIFEST = {
    "name": "task",
    "kind": "open_vqa",
    "source": {"name": "Things", "version": "1", "licence": "CC0"},
    "format": "vqa_jsonl",
    "train": {"file": "rows.jsonl"},
    "test": {"file": "rows.jsonl"},
    "prompt": "{question}\nAnswer shortly.",
    "metric": "accuracy",
    "generation": {"max_new_tokens": 5},
}
ROW = {"question_id": 1, "image": "a.png", "question": "What?", "answer": "a thing"}
KINDS = {  # what differs from the above, and a sound row
    "open_vqa": ({}, ROW),
    "captioning": ({"kind": "captioning", "metric": "cider", "prompt": "Describe."}, ROW),
    "choice_vqa": (
        {
            "kind": "choice_vqa",
            "metric": "choice",
            "format": "choice_jsonl",
            "prompt": "{question} Options: {options}",
        },
        {"id": "r", "image": "a.png", "question": "Which?", "choices": ["x", "y"], "answer": 1},
    ),
    "grounding": (
        {"kind": "grounding", "metric": "iou", "format": "skvg", "prompt": "Where is {question}?"},
        {"image": "a.png", "sent": "it", "bbox": [1, 2, 20, 20], "width": 40, "height": 30},
    ),
    "conversation": (
        {"format": "internvl_jsonl"},
        {
            "id": "r",
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat?"},
                {"from": "gpt", "value": "a thing"},
            ],
        },
    ),
}


@pytest.fixture
def task(tmp_path: Path):
    """Writes a task and gives the command line that prepares it."""
    (tmp_path / "a.png").write_bytes(picture())
    out = tmp_path / "out" / "train.parquet"
    manifest = tmp_path / "task.yaml"

    def write(changes: dict, rows: bytes | list) -> tuple[list, Path]:
        content = {k: v for k, v in (MANIFEST | changes).items() if v is not None}
        manifest.write_text(yaml.safe_dump(content))
        lines = rows if isinstance(rows, bytes) else "\n".join(map(json.dumps, rows)).encode()
        (tmp_path / "rows.jsonl").write_bytes(lines)
        command = ["--manifest", manifest, "--split", "train", "--max-pixels", 5000, "--out", out]
        return command, out

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_sound_rows_are_prepared(task, kind: str) -> None:
    changes, row = KINDS[kind]
    succeeds(prepare_data.main, *task(changes, [row]))


TRAIN = MANIFEST["train"]
MANIFESTS = {
    "no name": ({"name": None}, "'name' is a required property"),
    "another name": ({"name": "other"}, "'other' differs from the file's name"),
    "name of a number": ({"name": 7}, "name: 7 is not of type 'string'"),
    "name with a slash": ({"name": "../task"}, "name: '../task'"),
    "no kind": ({"kind": None}, "'kind' is a required property"),
    "unknown kind": ({"kind": "vqa"}, "kind: 'vqa' is not one of"),
    "kind of a list": ({"kind": ["open_vqa"]}, "kind: ['open_vqa']"),
    "no source": ({"source": None}, "'source' is a required property"),
    "source of text": ({"source": "web"}, "source: 'web' is not of type 'object'"),
    "no licence": ({"source": {"name": "x", "version": "1"}}, "source: 'licence' is a required"),
    "version of a number": (
        {"source": {"name": "x", "version": 1, "licence": "CC0"}},
        "source.version: 1 is not of type 'string'",
    ),
    "near miss": ({"promt": "x"}, "unknown key 'promt'. Did you mean 'prompt'?"),
    "no format": ({"format": None}, "'format' is a required property"),
    "unknown format": ({"format": "jsonl"}, "format: 'jsonl' is not one of"),
    "no train": ({"train": None}, "'train' is a required property"),
    "train of text": ({"train": "rows.jsonl"}, "train: 'rows.jsonl' is not of type 'object'"),
    "train without file": ({"train": {}}, "train: exactly one of 'file' and 'hub'"),
    "file of a number": ({"train": {"file": 3}}, "train.file: 3 is not of type 'string'"),
    "absent file": ({"train": {"file": "gone.jsonl"}}, "train.file: "),
    "file out of the root": ({"train": {"file": "../x.jsonl"}}, "leads out of the data root"),
    "absolute file": ({"train": {"file": "/etc/hostname"}}, "leads out of the data root"),
    "file with a NUL": ({"train": {"file": "a\0b"}}, "not found"),
    "absent images": ({"train": TRAIN | {"images": "gone"}}, "train.images: "),
    "short checksum": ({"train": TRAIN | {"sha256": "ab"}}, "train.sha256: 'ab'"),
    "wrong checksum": ({"train": TRAIN | {"sha256": "0" * 64}}, "expected 0000"),
    "no rows expected": ({"train": TRAIN | {"rows": 0}}, "train.rows: 0 is less than"),
    "annotations of another format": (
        {"train": TRAIN | {"annotations": "a.png"}},
        "goes with format 'vizwiz'",
    ),
    "hub of another format": (
        {"train": {"hub": {"name": "x/y", "revision": "0" * 40}}},
        "needs format 'datasets'",
    ),
    "branch of the hub": (
        {"format": "datasets", "train": {"hub": {"name": "x/y", "revision": "main"}}},
        "revision: 'main' does not match",
    ),
    "both file and hub": (
        {"train": TRAIN | {"hub": {"name": "x/y", "revision": "0" * 40}}},
        "exactly one of 'file' and 'hub'",
    ),
    "unknown metric": ({"metric": "f1"}, "unknown metric for open_vqa 'f1'"),
    "metric of another kind": ({"metric": "iou"}, "unknown metric for open_vqa 'iou'"),
    "no prompt": ({"prompt": None}, "prompt: needed"),
    "empty prompt": ({"prompt": ""}, "prompt: "),
    "prompt without question": ({"prompt": "Say."}, "question"),
    "unknown placeholder": ({"prompt": "{question} {hint}"}, "hint"),
    "half a brace": ({"prompt": "{question} {"}, "prompt"),
    "answer of another kind": ({"answer": "letter"}, "goes with kind 'choice_vqa'"),
    "no generation": ({"generation": None}, "'generation' is a required property"),
    "no limit": ({"generation": {}}, "'max_new_tokens' is a required property"),
    "limit of none": ({"generation": {"max_new_tokens": 0}}, "max_new_tokens: 0 is less"),
    "limits crossed": (
        {"generation": {"max_new_tokens": 2, "min_new_tokens": 3}},
        "min_new_tokens exceeds max_new_tokens",
    ),
    "unknown field": ({"fields": {"label": "x"}}, "unknown key 'label'"),
    "field of a number": ({"fields": {"image": 3}}, "fields.image: 3"),
    "root that is a file": ({"root": "a.png"}, "is no folder"),
    "absent root": ({"root": "gone"}, "is no folder"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_bad_manifest(task, capsys, name: str) -> None:
    changes, words = MANIFESTS[name]
    message = refused(prepare_data.main, *task(changes, [ROW]), capsys)
    assert words in message
    assert "task.yaml" in message
    assert message.count("\n") == 1


YAMLS = {
    "empty": b"",
    "a list": b"- a\n- b\n",
    "text": b"hello",
    "cut off": b"name: task\nsource: {name: x",
    "tabs": b"name:\n\t- x",
    "a key given twice": b"name: task\nname: task\n",
    "a key that is a list": b"[1, 2]: x\n",
    "an alias of nothing": b"name: *gone\n",
    "no text": b"\xff\xfe\x00",
    "a Python object": b"name: !!python/object:os.system x\n",
}


@pytest.mark.parametrize("name", YAMLS)
def test_a_manifest_that_is_no_yaml_mapping(task, tmp_path: Path, capsys, name: str) -> None:
    arguments, out = task({}, [ROW])
    (tmp_path / "task.yaml").write_bytes(YAMLS[name])
    message = refused(prepare_data.main, arguments, out, capsys)
    assert "task.yaml" in message
    assert message.count("\n") == 1


def turns(*said: object) -> dict:
    return {"conversations": list(said)}


HUMAN, ROBOT = {"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}
ROWS = [  # kind of row, what differs, what is said
    ("open_vqa", {"image": None}, "missing image"),
    ("open_vqa", {"image": 7}, "missing image"),
    ("open_vqa", {"image": ""}, "missing image"),
    ("open_vqa", {"image": "gone.png"}, "missing image"),
    ("open_vqa", {"image": "../a.png"}, "path leaves the data root"),
    ("open_vqa", {"image": "/etc/hostname"}, "path leaves the data root"),
    ("open_vqa", {"image": "a\0.png"}, "missing image"),
    ("open_vqa", {"image": ["a.png", None]}, "missing image"),
    ("open_vqa", {"image": {"x": 1}}, "missing image"),
    ("open_vqa", {"image": "."}, "missing image"),
    ("open_vqa", {"question": None}, "empty question"),
    ("open_vqa", {"question": " "}, "empty question"),
    ("open_vqa", {"question": 3}, "wrong type"),
    ("open_vqa", {"question": "<image> <image> Q"}, "image count"),
    ("open_vqa", {"question": "\ud800"}, "not UTF-8"),
    ("open_vqa", {"answer": None}, "missing answer"),
    ("open_vqa", {"answer": ""}, "empty answer"),
    ("open_vqa", {"answer": ["", " "]}, "empty answer"),
    ("open_vqa", {"answer": {"x": 1}}, "wrong type"),
    ("open_vqa", {"answer": True}, "wrong type"),
    ("open_vqa", {"answer": float("nan")}, "missing answer"),
    ("open_vqa", {"answer": float("inf")}, "missing answer"),
    ("open_vqa", {"question_id": [1]}, "wrong type"),
    ("open_vqa", {"question_id": 1.5}, "wrong type"),
    ("captioning", {"answer": []}, "missing answer"),
    ("captioning", {"answer": [[]]}, "wrong type"),
    ("choice_vqa", {"choices": None}, "bad choices"),
    ("choice_vqa", {"choices": "xy"}, "wrong type"),
    ("choice_vqa", {"choices": ["x"]}, "bad choices"),
    ("choice_vqa", {"choices": ["x", ""]}, "bad choices"),
    ("choice_vqa", {"choices": [str(i) for i in range(27)]}, "bad choices"),
    ("choice_vqa", {"answer": None}, "missing answer"),
    ("choice_vqa", {"answer": 2}, "answer out of range"),
    ("choice_vqa", {"answer": -1}, "answer out of range"),
    ("choice_vqa", {"answer": "B"}, "wrong type"),
    ("choice_vqa", {"answer": True}, "wrong type"),
    ("grounding", {"bbox": None}, "missing answer"),
    ("grounding", {"bbox": [1, 2, 3]}, "bad box"),
    ("grounding", {"bbox": ["1", "2", "3", "4"]}, "bad box"),
    ("grounding", {"bbox": [20, 2, 1, 20]}, "bad box"),
    ("grounding", {"bbox": [5, 5, 5, 5]}, "bad box"),
    ("grounding", {"bbox": [1, 2, 60, 20]}, "bad box"),
    ("grounding", {"bbox": [1, 2, float("nan"), 20]}, "bad box"),
    ("grounding", {"bbox": [1, 2, float("inf"), 20]}, "bad box"),
    ("grounding", {"width": 0}, "bad size"),
    ("grounding", {"width": "wide"}, "wrong type"),
    ("conversation", turns(), "empty conversation"),
    ("conversation", {"conversations": {"x": 1}}, "empty conversation"),
    ("conversation", {"conversations": "[{"}, "broken conversation"),
    ("conversation", turns(HUMAN), "broken conversation"),
    ("conversation", turns(ROBOT, HUMAN), "broken conversation"),
    ("conversation", turns(HUMAN, {"from": "gpt"}), "broken conversation"),
    ("conversation", turns(HUMAN, {"from": "gpt", "value": ""}), "empty answer"),
    ("conversation", turns({"from": "human", "value": "<image>"}, ROBOT), "empty question"),
    ("conversation", turns("Q", "A"), "broken conversation"),
]


@pytest.mark.parametrize(("kind", "changes", "words"), ROWS)
def test_a_bad_row(task, capsys, kind: str, changes: dict, words: str) -> None:
    manifest, row = KINDS[kind]
    sound = row | {key: "other" for key in ("id", "question_id") if key in row}
    message = refused(prepare_data.main, *task(manifest, [sound, row | changes]), capsys)
    assert f"rows.jsonl:2: {words}" in message
    assert "1 fault" in message


LINES = {
    "empty file": (b"", "has no rows"),
    "a broken line": (b"{", "broken JSON"),
    "a list": (b"[1]", "wrong format"),
    "a number": (b"3", "wrong type"),
    "no text": (b"\xff\xfe{}", "not UTF-8"),
    "nested too deeply": (b'{"id":' * 100_000, "nested too deeply"),
    "the same id twice": ("\n".join([json.dumps(ROW)] * 2).encode(), "duplicate id"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_file_of_rows(task, capsys, name: str) -> None:
    content, words = LINES[name]
    message = refused(prepare_data.main, *task({}, content), capsys)
    assert words in message
    assert "rows.jsonl" in message


SOUND = picture()
IMAGES = {
    "empty": (b"", "image"),
    "text": (b"no image at all", "unsupported image"),
    "header alone": (SOUND[:20], "image"),
    "half": (picture("JPEG")[:200], "image"),
    "all but the end": (SOUND[:-30], "truncated image"),
    "a picture of PostScript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "unsupported",
    ),
    "a vector graphic": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported image"),
    "an icon": (picture("ICO", (16, 16)), "unsupported image"),
    "too large": (picture(size=(100, 51)), "image too large"),
    "a bomb": (picture(size=(30_000, 30_000), mode="1"), "image too large"),
    "floating point": (picture("TIFF", mode="F"), "unsupported image"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_image(task, tmp_path: Path, capsys, name: str) -> None:
    content, words = IMAGES[name]
    arguments, out = task({}, [ROW])
    (tmp_path / "a.png").write_bytes(content)
    message = refused(prepare_data.main, arguments, out, capsys)
    assert words in message
    assert "a.png" in message


def test_a_folder_in_an_images_place(task, tmp_path: Path, capsys) -> None:
    arguments, out = task({}, [ROW])
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.png").mkdir()
    assert "missing image" in refused(prepare_data.main, arguments, out, capsys)

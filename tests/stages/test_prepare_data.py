"""prepare_data: every format to rows, every fault to one message, nothing half-written."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from stages import prepare_data
from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError
from stages.core.data.manifests import load_manifest
from tests.helpers import cmit_tree

CMIT = Path(__file__).parents[2] / "data_manifests" / "cmit"
MAX_PIXELS = 10_000
SOURCE = {"name": "Things", "version": "1", "licence": "CC0"}


def encoded(size=(50, 40), form="WEBP") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, form)
    return stream.getvalue()


def prepare(manifest: Path, out: Path, split="train", **options) -> list[dict]:
    root = options.pop("root", None)
    prepare_data.prepare_data(load_manifest(manifest, root), split, MAX_PIXELS, out, **options)
    return artifacts.read_table("data", out).to_pylist()


def run(*arguments) -> int:
    """Exit code of the command line."""
    try:
        cli.run(prepare_data.main, [str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


# --- the pocket stream's Parquet ---

PROMPTS = {
    "captioning": "Describe.",
    "open_vqa": "{question}\nAnswer shortly.",
    "choice_vqa": "{question}\nOptions: {options}\nAnswer with a letter.",
    "grounding": "{knowledge}: where is {question}?",
}
METRICS = {
    "captioning": "cider",
    "open_vqa": "accuracy",
    "choice_vqa": "choice",
    "grounding": "iou",
}
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("answer_index", pa.int32()),
        ("knowledge", pa.string()),
        ("box", pa.list_(pa.float64())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source", pa.string()),
        ("licence", pa.string()),
    ]
)
ROW = {
    "question": "What is it?",
    "answers": ["dog", "cat", "cat"],
    "choices": ["red", "blue", "green"],
    "answer_index": 1,
    "knowledge": "A farm",
    "box": [5.0, 10.0, 25.0, 30.0],
    "width": 50,
    "height": 40,
    "source": "s",
    "licence": "CC0",
}


@pytest.fixture
def pocket(tmp_path):
    """Write a task of a kind in the pocket stream's layout; gives the manifest."""

    def write(kind="open_vqa", n_train=5, n_test=3, change=lambda rows: None, **extra):
        rows = [
            {"id": f"t{i}", "split": "train" if i < n_train else "test", **ROW}
            | {"image": {"bytes": encoded(), "path": f"t{i}.webp"}}
            for i in range(n_train + n_test)
        ]
        change(rows)
        folder = tmp_path / "pocket"
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), folder / "things.parquet")
        content = {
            "name": "things",
            "kind": kind,
            "source": SOURCE,
            "format": "parquet",
            "train": {"file": "things.parquet", "split": "train"},
            "test": {"file": "things.parquet", "split": "test"},
            "prompt": PROMPTS[kind],
            "metric": METRICS[kind],
            "generation": {"max_new_tokens": 10},
            **extra,
        }
        (folder / "things.yaml").write_text(yaml.safe_dump(content))
        return folder / "things.yaml"

    return write


@pytest.mark.parametrize(
    ("kind", "question", "answer", "references"),
    [
        ("captioning", "Describe.", "dog", ["dog", "cat", "cat"]),
        ("open_vqa", "What is it?\nAnswer shortly.", "cat", ["dog", "cat", "cat"]),
        (
            "choice_vqa",
            "What is it?\nOptions: A. red, B. blue, C. green\nAnswer with a letter.",
            "B",
            ["B"],
        ),
        (
            "grounding",
            "A farm: where is What is it??",
            "<box>[[100,250,500,750]]</box>",
            ["<box>[[100,250,500,750]]</box>"],
        ),
    ],
)
def test_each_kind_of_task(pocket, tmp_path, kind, question, answer, references):
    rows = prepare(pocket(kind), tmp_path / "out.parquet")
    assert [row["sample_id"] for row in rows] == [f"train/t{i}" for i in range(5)]
    assert rows[0] == {
        "sample_id": "train/t0",
        "images": [{"bytes": encoded(), "path": None, "orientation": None}],
        "turns": [{"question": question, "answer": answer}],
        "references": references,
        "choices": ["red", "blue", "green"] if kind == "choice_vqa" else None,
        "box": [0.1, 0.25, 0.5, 0.75] if kind == "grounding" else None,
        "width": 50,
        "height": 40,
    }


@pytest.mark.parametrize(
    ("box", "written"),
    [
        ([0.1, 0.25, 0.5, 0.75], {"format": "relative"}),
        ([100, 250, 400, 500], {"format": "grid1000", "order": "xywh"}),
        ([5, 10, 20, 20], {"order": "xywh"}),
    ],
)
def test_boxes_are_read_as_the_manifest_says(pocket, tmp_path, box, written):
    def change(rows):
        for row in rows:
            row["box"] = box

    (row, *_) = prepare(pocket("grounding", change=change, box=written), tmp_path / "out.parquet")
    assert row["box"] == pytest.approx([0.1, 0.25, 0.5, 0.75])
    assert row["references"] == ["<box>[[100,250,500,750]]</box>"]


def test_a_box_convention_goes_with_boxes_only(pocket):
    with pytest.raises(InputError, match="box: goes with kind 'grounding'"):
        load_manifest(pocket("open_vqa", box={"order": "xywh"}))


def test_training_may_answer_a_choice_by_its_text(pocket, tmp_path):
    (row, *_) = prepare(pocket("choice_vqa", answer="text"), tmp_path / "out.parquet")
    assert row["turns"][0]["answer"] == "blue"
    assert row["references"] == ["B"]  # what is scored stays the letter


def test_metadata_says_task_and_origin(pocket, tmp_path):
    out = tmp_path / "out.parquet"
    assert len(prepare(pocket(), out, "test", rows=2, seed=4)) == 2
    found = artifacts.metadata(out)
    assert found["task"] == {
        "name": "things",
        "kind": "open_vqa",
        "metric": "accuracy",
        "max_new_tokens": 10,
        "min_new_tokens": 1,
    }
    record = found["provenance"]
    assert set(record["inputs"]) == {"manifest", "rows"}
    assert record["config"] == {
        "split": "test",
        "max_pixels": MAX_PIXELS,
        "exif": "apply",
        "rows": 2,
        "held_out": None,
    }
    assert record["seed"] == 4


def test_equal_input_gives_equal_bytes(pocket, tmp_path):
    manifest = pocket()
    for name in ("a", "b"):
        prepare(manifest, tmp_path / name, rows=3, seed=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pick_keeps_the_files_order_and_ignores_numpys_state(pocket, tmp_path):
    manifest, picks = pocket(n_train=40), []
    for seed in (0, 0, 1):
        np.random.seed(len(picks))
        rows = prepare(manifest, tmp_path / "out", rows=10, seed=seed)
        picks.append([int(row["sample_id"].removeprefix("train/t")) for row in rows])
    assert picks[0] == picks[1] == sorted(set(picks[0]))
    assert picks[0] != picks[2]
    assert len(prepare(manifest, tmp_path / "out", rows=99, seed=0)) == 40


def test_rows_beyond_one_batch_all_arrive(pocket, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_data, "BATCH_ROWS", 7)
    manifest = pocket(n_train=30)
    assert len(prepare(manifest, tmp_path / "rows")) == 30
    monkeypatch.setattr(prepare_data, "BATCH_BYTES", 1)
    assert len(prepare(manifest, tmp_path / "bytes")) == 30
    assert pq.ParquetFile(tmp_path / "bytes").num_row_groups == 30


def damage(column, value, row=1):
    def change(rows):
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("open_vqa", damage("answers", None), "row 2: missing answer"),
        ("open_vqa", damage("answers", []), "row 2: missing answer"),
        ("open_vqa", damage("answers", [" "]), "row 2: empty answer"),
        ("captioning", damage("answers", None), "row 2: missing answer"),
        ("open_vqa", damage("question", ""), "row 2: empty question"),
        ("open_vqa", damage("image", None), "row 2: missing image"),
        ("open_vqa", damage("image", {"bytes": encoded()[:60]}), "row 2: "),
        ("open_vqa", damage("image", {"bytes": b"GIF"}), "row 2: unsupported image"),
        ("open_vqa", damage("image", {"bytes": encoded((101, 100))}), "row 2: image too large"),
        ("open_vqa", damage("image", {"path": "gone.png"}), "row 2: missing image"),
        ("open_vqa", damage("image", {"path": "../x.png"}), "row 2: path leaves the data root"),
        ("open_vqa", damage("image", {"path": "/etc/hostname"}), "path leaves the data root"),
        ("open_vqa", damage("id", "t0"), "row 2: duplicate id: 't0'"),
        ("choice_vqa", damage("answer_index", 3), "row 2: answer out of range: option 3 of 3"),
        ("choice_vqa", damage("answer_index", -1), "row 2: answer out of range"),
        ("choice_vqa", damage("answer_index", None), "row 2: missing answer"),
        ("choice_vqa", damage("choices", ["one"]), "row 2: bad choices"),
        ("choice_vqa", damage("choices", None), "row 2: bad choices"),
        ("grounding", damage("box", None), "row 2: missing answer"),
        ("grounding", damage("box", [5.0, 10.0, 52.0, 30.0]), "row 2: bad box"),
        ("grounding", damage("box", [5.0, 10.0, 5.0, 30.0]), "row 2: bad box"),
        ("grounding", damage("knowledge", None), "row 2: empty knowledge"),
    ],
)
def test_a_faulty_row_stops_the_task(pocket, tmp_path, kind, change, expected):
    out = tmp_path / "out" / "train.parquet"
    with pytest.raises(InputError) as caught:
        prepare(pocket(kind, change=change), out)
    assert expected in str(caught.value)
    assert "things.parquet: row 2" in str(caught.value)
    assert "train: 1 fault (" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_row_that_was_not_picked_is_checked_all_the_same(pocket, tmp_path):
    for row in range(5):
        with pytest.raises(InputError, match=f"row {row + 1}: missing answer"):
            prepare(pocket(change=damage("answers", None, row)), tmp_path / "out", rows=1, seed=0)


def test_all_faults_come_at_once_text_and_image_of_one_row_too(pocket, tmp_path):
    def change(rows):
        rows[0]["answers"] = None
        rows[0]["image"] = {"path": "gone.png"}
        rows[3]["image"] = {"path": "gone.png"}

    with pytest.raises(InputError) as caught:
        prepare(pocket(change=change), tmp_path / "out")
    message = str(caught.value)
    assert "row 1: missing image" in message
    assert "row 1: missing answer" in message
    assert "row 4: missing image" in message
    assert "3 faults (missing image: 2, missing answer: 1); nothing was written" in message


def test_an_empty_task_is_an_error(pocket, tmp_path):
    with pytest.raises(InputError, match=r"has no rows with split = 'test'"):
        prepare(pocket(n_test=0), tmp_path / "out", "test")
    assert not (tmp_path / "out").exists()


def test_what_was_there_stays_when_new_data_are_faulty(pocket, tmp_path):
    out = tmp_path / "out.parquet"
    prepare(pocket(), out)
    before = out.read_bytes()
    with pytest.raises(InputError):
        prepare(pocket(change=damage("answers", None)), out)
    assert out.read_bytes() == before


def test_a_text_only_task(pocket, tmp_path):
    manifest = pocket(fields={"image": None})
    row = prepare(manifest, tmp_path / "out")[0]
    assert (row["images"], row["width"], row["height"]) == ([], None, None)


def test_rows_without_prompts_need_a_prompt_in_the_manifest(pocket, tmp_path):
    manifest = pocket()
    content = yaml.safe_load(manifest.read_text())
    del content["prompt"]
    manifest.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="prompt: needed"):
        prepare(manifest, tmp_path / "out")


# --- the nine published layouts ---


@pytest.fixture
def tree(tmp_path):
    cmit_tree.write_tree(tmp_path / "cmit")
    return tmp_path / "cmit"


def test_the_manifests_are_the_nine_tasks_with_the_papers_sizes():
    rows = {}
    for path in CMIT.glob("*.yaml"):
        content = load_manifest(path).content
        rows[path.stem] = (content["train"]["rows"], content["test"]["rows"])
    assert set(rows) == set(cmit_tree.TASKS)
    assert sum(train for train, _ in rows.values()) == 924_192  # total of the paper
    assert sum(test for _, test in rows.values()) == 155_479


@pytest.mark.parametrize("task", cmit_tree.TASKS)
def test_every_published_layout_prepares(tree, tmp_path, task):
    for split in ("train", "test"):
        rows = prepare(CMIT / f"{task}.yaml", tmp_path / f"{split}.parquet", split, root=tree)
        assert len(rows) == 3
        for row in rows:
            assert Path(row["images"][0]["path"]).is_file()
            assert row["images"][0]["bytes"] is None
            assert (row["width"], row["height"]) == cmit_tree.SIZE
            assert "<image>" not in row["turns"][0]["question"]


VQA_END = "\nAnswer the question with a single word or phrase."
EXPECTED = {  # second test row: id, question, references
    "vizwiz_caption": (
        "test/101",
        "Provide a one-sentence caption for the provided image.",
        [f"Caption {k} of picture 1." for k in range(5)],
    ),
    "skvg": (
        "test/row2",
        "Based on the Knowledge: Ann wears a hat.\nPlease provide the bounding box coordinates of "
        "the region <ref>hat number 1</ref>.",
        ["<box>[[100,100,350,500]]</box>"],
    ),
    "iconqa": (
        "test/row2",
        "Which one?\nOptions: A. cat, B. dog, C. cow\nAnswer with the option's letter directly.",
        ["B"],
    ),
    "ocrvqa": ("test/1", f"Who wrote book 1?{VQA_END}", ["Ann Lee"]),
    "vizwiz": ("test/1", f"What is thing 1?{VQA_END}", ["soup"] * 4 + ["tin"] * 5 + [""]),
    "kvqa": ("test/q1", f"Who is left?{VQA_END}", ["Ann Lee", "Lee"]),
}


@pytest.mark.parametrize("task", EXPECTED)
def test_test_rows_word_by_word(tree, tmp_path, task):
    row = prepare(CMIT / f"{task}.yaml", tmp_path / "out", "test", root=tree)[1]
    found = (row["sample_id"], row["turns"][-1]["question"], row["references"])
    assert found == EXPECTED[task]


def test_the_most_frequent_answer_is_learned(tree, tmp_path):
    row = prepare(CMIT / "vizwiz.yaml", tmp_path / "out", "test", root=tree)[0]
    assert row["turns"][0]["answer"] == "tin"


def test_all_turns_of_a_conversation_are_kept(tree, tmp_path):
    row = prepare(CMIT / "ocrvqa.yaml", tmp_path / "out", root=tree)[1]
    assert row["turns"] == [
        {"question": f"Who wrote book 1?{VQA_END}", "answer": "Ann Lee"},
        {"question": f"Is it a guide?{VQA_END}", "answer": "Yes"},
    ]
    assert row["references"] == ["Yes"]


def test_boxes_of_conversations_are_read_from_their_text(tree, tmp_path):
    row = prepare(CMIT / "skvg.yaml", tmp_path / "out", root=tree)[1]
    assert row["box"] == [0.1, 0.2, 0.15, 0.4]
    assert row["turns"][0]["answer"] == "<box>[[100,200,150,400]]</box>"


# --- the layout of peers: UCIT and MLLM-DCL (MCITlib), CoIN ---


def test_a_peers_layout(tmp_path):
    folder = tmp_path / "UCIT"
    cmit_tree.write_image(folder / "datasets/ImageNet-R/train/0.jpg")
    cmit_tree.write_image(folder / "datasets/ImageNet-R/test/1.jpg")
    asked = "What is the object in the image?\nAnswer the question using a single word or phrase."
    train = [
        {
            "id": "0",
            "image": "./datasets/ImageNet-R/train/0.jpg",
            "conversations": cmit_tree.talk(asked, "hen"),
        }
    ]
    test = [
        {
            "question_id": 11,
            "image": "./datasets/ImageNet-R/test/1.jpg",
            "text": asked,
            "answer": "goldfish",
        }
    ]
    (folder / "ImageNet-R").mkdir()
    (folder / "ImageNet-R/train.json").write_text(json.dumps(train, indent=1))
    (folder / "ImageNet-R/test.json").write_text(json.dumps(test))
    content = {
        "name": "imagenet_r",
        "kind": "open_vqa",
        "source": SOURCE,
        "format": "llava_json",
        "root": "UCIT",
        "train": {"file": "ImageNet-R/train.json"},
        "test": {"file": "ImageNet-R/test.json"},
        "prompt": "{question}",
        "metric": "accuracy",
        "generation": {"max_new_tokens": 20},
    }
    manifest = tmp_path / "imagenet_r.yaml"
    manifest.write_text(yaml.safe_dump(content))
    (row,) = prepare(manifest, tmp_path / "train.parquet")
    assert row["sample_id"] == "train/0"
    assert row["turns"] == [{"question": asked, "answer": "hen"}]
    (row,) = prepare(manifest, tmp_path / "test.parquet", "test")
    assert row["sample_id"] == "test/11"
    assert row["turns"] == [{"question": asked, "answer": "goldfish"}]
    assert row["references"] == ["goldfish"]
    assert row["images"][0]["path"] == str(folder / "datasets/ImageNet-R/test/1.jpg")


def edit_line(path: Path, number: int, change) -> None:
    """Change one line (counted from 1) of a JSONL file; ``change`` may return other bytes."""
    lines = path.read_bytes().splitlines(keepends=True)
    row = json.loads(lines[number - 1])
    lines[number - 1] = change(row) or json.dumps(row).encode() + b"\n"
    path.write_bytes(b"".join(lines))


def put(**values):
    return lambda row: row.update(values)


def bad_box(row):
    row["conversations"][1]["value"] = "<box>[[10,20,1200,40]]</box>"


def no_box(row):
    row["conversations"][1]["value"] = "on the left"


MALFORMED = [
    ("kvqa", "train", "kvqa/train.jsonl", put(image="data/gone.jpg"), "missing image"),
    ("kvqa", "train", "kvqa/train.jsonl", put(conversations=[]), "empty conversation"),
    ("kvqa", "train", "kvqa/train.jsonl", put(id=0), "duplicate id"),
    ("kvqa", "train", "kvqa/train.jsonl", lambda row: b'{"id": 7, "im\n', "broken JSON"),
    ("kvqa", "train", "kvqa/train.jsonl", lambda row: b'{"id": "\xff"}\n', "not UTF-8"),
    ("kvqa", "train", "kvqa/train.jsonl", put(image="../../x.jpg"), "path leaves the data root"),
    ("skvg", "train", "sk-vg/train.jsonl", bad_box, "bad box"),
    ("skvg", "train", "sk-vg/train.jsonl", no_box, "bad box"),
    ("skvg", "test", "sk-vg/test.jsonl", put(bbox=[10, 5, 70, 20]), "bad box"),
    ("skvg", "test", "sk-vg/test.jsonl", put(bbox=[10, 5, 10, 20]), "bad box"),
    ("skvg", "test", "sk-vg/test.jsonl", put(bbox=[0.1, 0.2, 0.5, 0.7]), "bad box"),
    ("skvg", "test", "sk-vg/test.jsonl", put(bbox=[1, 2, float("nan"), 7]), "bad box"),
    ("skvg", "test", "sk-vg/test.jsonl", put(width=40, height=60), "bad size"),
    ("skvg", "test", "sk-vg/test.jsonl", put(knowledge=""), "empty knowledge"),
    ("iconqa", "test", "iconqa/multi_text_choice_test.jsonl", put(answer=3), "answer out of range"),
    ("pmcvqa", "test", "pmcvqa/test_clean.jsonl", put(choices=[]), "bad choices"),
    ("ocrvqa", "test", "ocrvqa/ocrvqa_val.jsonl", put(answer=""), "empty answer"),
    ("ocrvqa", "test", "ocrvqa/ocrvqa_val.jsonl", put(answer="\ud800"), "not UTF-8"),
    ("ocrvqa", "test", "ocrvqa/ocrvqa_val.jsonl", put(answer=["a", "\ud800"]), "not UTF-8"),
    ("ocrvqa", "test", "ocrvqa/ocrvqa_val.jsonl", put(question_id=0), "duplicate id"),
    ("vizwiz", "test", "vizwiz/vizwiz_val.jsonl", put(question_id=77), "missing answer"),
]


@pytest.mark.parametrize(("task", "split", "file", "change", "kind"), MALFORMED)
def test_a_malformed_row_is_named_by_file_and_line(tree, tmp_path, task, split, file, change, kind):
    edit_line(tree / "data" / file, 2, change)
    with pytest.raises(InputError) as caught:
        prepare(CMIT / f"{task}.yaml", tmp_path / "out" / "x", split, root=tree)
    assert f"{tree / 'data' / file}:2: {kind}" in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_nine_answers_and_lost_captions(tree, tmp_path):
    path = tree / "data/vizwiz/vizwiz_val_annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["answers"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"vizwiz_val\.jsonl:2: answer count: .*9 answers, not 10"):
        prepare(CMIT / "vizwiz.yaml", tmp_path / "out", "test", root=tree)
    path = tree / "data/textcaps/val.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][5:]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"val\.json: images\[0\]: missing answer"):
        prepare(CMIT / "textcaps.yaml", tmp_path / "out", "test", root=tree)


def test_a_truncated_image_of_a_referenced_file(tree, tmp_path):
    image = tree / "data/kvqa/images/train_1.jpg"
    image.write_bytes(image.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"train\.jsonl:2: truncated image: .*train_1\.jpg"):
        prepare(CMIT / "kvqa.yaml", tmp_path / "out", root=tree)


def test_a_link_out_of_the_root_is_a_fault(tree, tmp_path):
    image = tree / "data/kvqa/images/train_1.jpg"
    image.rename(tmp_path / "elsewhere.jpg")
    image.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(InputError, match=r"train\.jsonl:2: path leaves the data root"):
        prepare(CMIT / "kvqa.yaml", tmp_path / "out", root=tree)


@pytest.mark.parametrize(("exif", "size"), [("apply", (40, 60)), ("ignore", (60, 40))])
def test_boxes_refer_to_the_image_as_it_is_used(tree, tmp_path, capsys, exif, size):
    """A photograph of 40 x 60 whose pixels are stored lying on their side."""
    image, sideways = tree / "data/sk-vg/images/test_1.png", Image.Exif()
    sideways[0x0112] = 6
    Image.open(image).save(image, exif=sideways)
    path = tree / "data/sk-vg/test.jsonl"
    edit_line(path, 2, put(width=size[0], height=size[1], bbox=[4, 6, 20, 30]))
    row = prepare(CMIT / "skvg.yaml", tmp_path / "out", "test", root=tree, exif=exif)[1]
    assert (row["width"], row["height"]) == size
    assert row["box"] == [4 / size[0], 6 / size[1], 20 / size[0], 30 / size[1]]
    capsys.readouterr()
    assert run("--check", CMIT / "skvg.yaml", "--root", tree, "--exif", exif) == 0
    said = "test: note: 1 images are rotated as their EXIF data say"
    assert (said in capsys.readouterr().out) == (exif == "apply")
    edit_line(path, 2, put(width=size[1], height=size[0]))
    with pytest.raises(InputError, match="another shape"):
        prepare(CMIT / "skvg.yaml", tmp_path / "out", "test", root=tree, exif=exif)


# --- command line ---


def test_command_line_writes_and_warns_of_another_number_of_rows(tree, tmp_path, capsys):
    out = tmp_path / "x" / "train.parquet"
    flags = ["--manifest", CMIT / "kvqa.yaml", "--root", tree, "--split", "train", "--out", out]
    assert run(*flags) == 0
    said = capsys.readouterr()
    assert "train.parquet: 3 rows" in said.out
    assert "3 rows where the manifest expects 146408" in said.err
    assert run(*flags, "--max-pixels", "2399") == 1
    assert "60 x 40 = 2400 pixels, allowed are 2399" in capsys.readouterr().err
    assert run(*flags, "--rows", "2", "--seed", "5") == 0
    assert len(artifacts.read_table("data", out)) == 2
    assert run(*flags, "--rows", "2") == 2  # without a seed


def test_held_out_rows_are_training_rows_that_nothing_else_trains_on(pocket, tmp_path):
    manifest = pocket(n_train=12, n_test=3)
    every = {row["sample_id"] for row in prepare(manifest, tmp_path / "all")}

    def ids(split, **options):
        options = {"held_out": 4, "seed": 0} | options
        return [row["sample_id"] for row in prepare(manifest, tmp_path / "out", split, **options)]

    tested, trained = ids("test"), ids("train")
    assert (len(tested), len(trained)) == (4, 8)
    assert {*tested} | {*trained} == every
    assert tested == ids("test") != ids("test", seed=1)
    assert {*ids("train", rows=5)} < {*trained}  # rows limits what is left
    assert len(ids("train", rows=5)) == 5
    assert {*ids("test", rows=3)} < {*tested}


def test_held_out_rows_leave_some_to_train_on(pocket, tmp_path, capsys):
    flags = ["--manifest", pocket(n_train=5), "--split", "train", "--out", tmp_path / "out"]
    assert run(*flags, "--held-out", "5", "--seed", "0") == 1
    said = capsys.readouterr().err
    assert "rows.held_out: 5 of the 5 training rows of" in said
    assert "Allowed: 1 to 4." in said
    assert not (tmp_path / "out").exists()
    assert run(*flags, "--held-out", "5") == 2  # without a seed
    assert run(*flags, "--held-out", "0", "--seed", "0") == 2


@pytest.fixture
def birds(tmp_path):
    """The example of the guide, on a folder of its own: manifest, data folder."""
    guide = (CMIT.parent / "README.md").read_text()
    content = yaml.safe_load(guide.partition("```yaml\n")[2].partition("```")[0])
    for name in ("train", "test"):
        cmit_tree.write_image(tmp_path / "mine/pictures/a.jpg")
        row = {"image": "a.jpg", "text": "Which?", "choices": ["hen", "owl"], "answer": 1}
        lines = [row | {"id": f"{name}{i}"} for i in range(8)]
        cmit_tree.write_lines(tmp_path / f"mine/{name}.jsonl", lines)
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(content | {"root": "mine"}))
    return tmp_path / "birds.yaml", tmp_path / "mine"


def test_the_guides_example_of_an_own_task_checks_and_prepares(birds, tmp_path, capsys):
    assert run("--check", birds[0]) == 0
    assert "test: sound. 8 rows" in capsys.readouterr().out
    row = prepare(birds[0], tmp_path / "out.parquet")[0]
    asked = "Which?\nOptions: A. hen, B. owl\nAnswer with the option's letter directly."
    assert row["turns"] == [{"question": asked, "answer": "B"}]


def test_check_of_an_own_task_names_every_kind_of_fault_at_once(birds, capsys):
    manifest, folder = birds
    path = folder / "train.jsonl"
    edit_line(path, 1, put(image="gone.jpg"))
    edit_line(path, 2, put(id="train2"))  # line 3 has it again
    edit_line(path, 4, put(answer=2))
    edit_line(path, 5, put(choices=["hen"]))
    edit_line(path, 6, lambda row: b'{"image": "a.jpg", "text": "\xff"}\n')
    edit_line(path, 7, lambda row: b'{"image": "a.jpg", "te\n')
    edit_line(path, 8, put(answer=-1))
    before = sorted(folder.rglob("*"))
    assert run("--check", manifest) == 1
    said = capsys.readouterr().out
    kinds = {1: "missing image", 3: "duplicate id", 4: "answer out of range", 5: "bad choices"}
    for number, kind in (kinds | {6: "not UTF-8", 7: "broken JSON"}).items():
        assert f"{path}:{number}: {kind}: " in said
    assert "train: 7 faults (answer out of range: 2, " in said
    assert "test: sound. 8 rows" in said
    assert sorted(folder.rglob("*")) == before


def test_check_reports_every_row_of_both_splits(tree, capsys):
    for number in (1, 3):
        edit_line(tree / "data/kvqa/train.jsonl", number, put(image="data/gone.jpg"))
    edit_line(tree / "data/kvqa/test.jsonl", 2, put(answer=[]))
    assert run("--check", CMIT / "kvqa.yaml", "--root", tree) == 1
    said = capsys.readouterr()
    assert "train.jsonl:1: missing image" in said.out
    assert "train.jsonl:3: missing image" in said.out
    assert "test.jsonl:2: missing answer" in said.out
    assert "train: 2 faults (missing image: 2)" in said.out
    assert "test: 1 fault (missing answer: 1)" in said.out
    assert "train and test cannot be used" in said.err


def test_check_prints_more_faults_than_a_message_holds(pocket, capsys):
    def change(rows):
        for row in rows:
            row["answers"] = None

    manifest = pocket(n_train=30, change=change)
    assert run("--check", manifest) == 1
    assert capsys.readouterr().out.count(": missing answer: ") == 33


def test_check_sums_up_sound_data_and_tells_of_other_prompts(tree, capsys):
    edit_line(
        tree / "data/ocrvqa/train.jsonl", 1, put(conversations=cmit_tree.talk("Who?", "Ann Lee"))
    )
    assert run("--check", CMIT / "ocrvqa.yaml", "--root", tree) == 0
    said = capsys.readouterr().out
    assert "train: sound. 3 rows, 3 images (largest 2400 pixels), 5 turns" in said
    assert "1 of 5 questions end otherwise" in said
    assert "test: sound. 3 rows" in said


def test_check_of_a_split_whose_file_is_missing_still_looks_at_the_other(tree, capsys):
    (tree / "data/kvqa/train.jsonl").unlink()
    assert run("--check", CMIT / "kvqa.yaml", "--root", tree) == 1
    said = capsys.readouterr()
    assert "train.jsonl not found" in said.out
    assert "test: sound" in said.out


def test_decode_reads_images_in_full(tree, tmp_path):
    image = tree / "data/kvqa/images/test_1.png"
    data = bytearray(image.read_bytes())
    place = data.index(b"IDAT") + 8
    data[place] ^= 0xFF
    image.write_bytes(data)
    assert len(prepare(CMIT / "kvqa.yaml", tmp_path / "out", "test", root=tree)) == 3
    with pytest.raises(InputError, match="truncated image"):
        prepare(CMIT / "kvqa.yaml", tmp_path / "out", "test", root=tree, decode=True)

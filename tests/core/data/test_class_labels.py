"""Images sorted into classes: names of labels as answers, one question for every row."""

import json

import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from PIL import Image

from stages.core.base.errors import InputError
from stages.core.data.manifests import Manifest, load_manifest
from stages.core.data.readers import formats
from stages.core.data.rows import sound_rows
from stages.core.data.samples import Converter

SORTED = {  # split: class of each image
    "train": {"a": "wild cat", "b": "dog", "c": "wild cat"},
    "test": {"d": "dog", "e": "wild cat"},
}
MANIFEST = {
    "name": "pets",
    "kind": "open_vqa",
    "source": {"name": "Pets", "version": "1", "licence": "CC0"},
    "format": "datasets",
    "train": {"file": "pictures"},
    "test": {"file": "pictures"},
    "fields": {"answers": "label"},
    "question": "Which {animal} is it?",
    "prompt": "{question}\nAnswer with one word.",
    "metric": "accuracy",
    "generation": {"max_new_tokens": 5},
}


@pytest.fixture
def write(tmp_path):
    def done(**changes) -> Manifest:
        path = tmp_path / "pets.yaml"
        path.write_text(json.dumps(MANIFEST | changes))
        return load_manifest(path)

    return done


def prepared(manifest: Manifest, name: str = "train") -> list[dict]:
    split = manifest.split(name)
    return list(sound_rows(manifest, split, Converter(manifest, split, 10**6)))


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_folder_of_images_in_classes(tmp_path, write, name):
    for part, images in SORTED.items():
        for image, kind in images.items():
            folder = tmp_path / "pictures" / part / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6)).save(folder / f"{image}.png")
    rows = prepared(write(), name)
    found = {row["images"][0]["path"].rpartition("/")[2][0]: row["references"] for row in rows}
    assert found == {image: [kind] for image, kind in SORTED[name].items()}
    assert [row["turns"][0]["question"] for row in rows] == [
        "Which {animal} is it?\nAnswer with one word."
    ] * len(rows)


LABEL = ClassLabel(names=["yes", "no", "0"])
LABELLED = {
    "image": ["a.png", "b.png"],
    "label": [2, -1],
    "labels": [[0, 1], []],
    "answer_index": [1, 0],
    "nested": [{"first": 1, "many": [{"of": 0}]}, None],
}
FEATURES = Features(
    {
        "image": Value("string"),
        "label": LABEL,
        "labels": List(LABEL),
        "answer_index": LABEL,
        "nested": {"first": LABEL, "many": List({"of": LABEL})},
    }
)


@pytest.mark.parametrize("saved", [False, True])
def test_labels_are_names_in_lists_and_structures_too(tmp_path, write, saved):
    data = Dataset.from_dict(LABELLED, features=FEATURES)
    if saved:
        data.save_to_disk(tmp_path / "pictures")
    else:
        (tmp_path / "pictures").mkdir()
        data.to_parquet(tmp_path / "pictures" / "train.parquet")
    first, second = (row for _, row in formats.rows(write().split("train")))
    assert first["label"] == "0"
    assert second["label"] is None
    assert [first["labels"], second["labels"]] == [["yes", "no"], []]
    assert first["nested"] == {"first": "no", "many": [{"of": "yes"}]}


def test_the_number_of_an_option_stays_a_number(tmp_path, write):
    (tmp_path / "pictures").mkdir()
    data = Dataset.from_dict(LABELLED, features=FEATURES)
    data.to_parquet(tmp_path / "pictures" / "train.parquet")
    rows = formats.rows(write().split("train"))
    assert [row["answer_index"] for _, row in rows] == [1, 0]
    renamed = write(fields={"answer_index": "label"}).split("train")
    first, second = (row for _, row in formats.rows(renamed))
    assert [first["label"], second["label"]] == [2, -1]
    assert [first["answer_index"], second["answer_index"]] == ["no", "yes"]


def test_a_label_without_a_name_is_a_fault(tmp_path, write):
    (tmp_path / "pictures").mkdir()
    path = tmp_path / "pictures" / "train.parquet"
    Dataset.from_dict(LABELLED, features=FEATURES).to_parquet(path)
    table = pq.read_table(path)
    labels = table["label"].type
    changed = table.set_column(1, "label", [[7, 0]]).cast(
        table.schema.set(1, table.schema.field("label").with_type(labels))
    )
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InputError, match="Invalid integer class label 7"):
        list(formats.rows(write().split("train")))


# --- the question of a manifest -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"question": ""}, "question: "),
        ({"question": "  "}, "question: has no text"),
        ({"question": 3}, "question: 3 is not of type 'string'"),
        ({"question": "<image>What?"}, "question: leave out '<image>'"),
        ({"prompt": "{question}", "kind": "captioning", "metric": "cider", "fields": {}}, None),
        ({"prompt": "Say it.", "kind": "captioning", "metric": "cider"}, "has no {question}"),
    ],
)
def test_a_question_that_cannot_be_asked(write, changes, expected):
    if expected is None:
        assert write(**changes).content["question"]
        return
    with pytest.raises(InputError) as caught:
        write(**changes)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("form", "fields", "column"),
    [
        ("datasets", {"question": "text"}, "'text'"),
        ("parquet", {"question": "question"}, "'question'"),
        ("vqa_jsonl", {}, "'question'"),
        ("llava_json", {}, "'text'"),
        ("llava_json", {"question": None}, "'conversations'"),
        ("internvl_jsonl", {}, "'conversations'"),
        ("skvg", {}, "'sent'"),
    ],
)
def test_a_question_beside_the_rows_own_is_refused(tmp_path, write, form, fields, column):
    (tmp_path / "rows").write_text("")
    manifest = write(format=form, fields=fields, train={"file": "rows"})
    with pytest.raises(InputError, match=f"the rows' own stand under {column}"):
        prepared(manifest)


@pytest.mark.parametrize(
    "own", [{"question": "Q?"}, {"conversations": [{"from": "human", "value": "Q?"},
                                                   {"from": "gpt", "value": "A"}]}]
)  # fmt: skip
def test_a_row_with_a_question_of_its_own_is_a_fault(tmp_path, write, own):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": "a.png", "label": "A"} | own))
    with pytest.raises(InputError, match="two questions: one of the row, one of the manifest"):
        prepared(write(train={"file": "rows.jsonl"}))


def test_a_column_of_questions_can_be_left_aside(tmp_path, write):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    (tmp_path / "rows.jsonl").write_text('{"image": "a.png", "label": "A", "question": "Q?"}')
    manifest = write(train={"file": "rows.jsonl"}, fields={"answers": "label", "question": None})
    (row,) = prepared(manifest)
    assert row["turns"][0]["question"].startswith("Which {animal} is it?")

"""Readers: containers, columns, joins, and what they say of broken files."""

import codecs
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.manifests import Split
from stages.core.data.markers import PLACE
from stages.core.data.readers import containers
from stages.core.data.readers import formats as readers
from stages.core.data.readers.record import Record, from_mapping, texts
from tests.helpers.splits import split


def read(source: Split) -> list[tuple[str, Record | str]]:
    """Each row's place behind the file's name, and its record or the kind of its fault."""
    record_of, found = readers.reader(source), []
    for where, row in readers.rows(source):
        place = where.removeprefix(str(source.path)).lstrip(": ")
        try:
            found.append((place, record_of(row)))
        except RowError as fault:
            found.append((place, fault.kind))
    return found


# --- containers ---

ITEMS = [
    {"a": 'quote " and \\ and ] and }', "b": [1, [2.5, None]]},
    {"ü": "漢字🙂", "escaped": "\u2028"},
    [],
    "text",
    -12.5e3,
    True,
    {"long": "x" * 150},
]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_streams_as_it_parses_whole(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(containers, "CHUNK", chunk)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ITEMS, indent=indent, ensure_ascii=bool(indent)))
    found = list(containers.array(path))
    assert [item for _, item in found] == ITEMS
    assert found[2][0] == f"{path}: item 3"


@pytest.mark.parametrize("text", ["[]", " [ ] \n"])
def test_an_empty_array_has_no_items(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    assert list(containers.array(tmp_path / "rows.json")) == []


@pytest.mark.parametrize("chunk", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("", 0),
        ('[{"a": 1}', 0),
        ('[{"a": 1},', 1),
        ('[{"a": 1}, {"a": 2', 1),
        ('[{"a": 1}, {"a": "cut off in a str', 1),
        ('[{"a": 1} {"a": 2}]', 1),
        ('[{"a": 1}, {"a" 2}, {"a": 3}]', 1),
        ('[{"a": 1},]', 1),
        ('[{"a": tru', 0),
    ],
)
def test_a_broken_array_gives_the_sound_items_and_one_fault(
    tmp_path, monkeypatch, chunk, text, sound
):
    monkeypatch.setattr(containers, "CHUNK", chunk)
    path = tmp_path / "rows.json"
    path.write_text(text)
    found = []
    with pytest.raises(RowError) as caught:
        for _, item in containers.array(path):
            found.append(item)
    assert caught.value.kind == "broken JSON"
    assert found == [{"a": 1}] * sound


def test_a_broken_item_does_not_make_the_reader_swallow_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "CHUNK", 1000)
    path = tmp_path / "rows.json"
    path.write_text('[{"a" 1}, ' + '{"a": 1}, ' * 100_000)
    with path.open() as handle:
        text = containers._JsonText(handle)
        text.take("[")
        with pytest.raises(RowError):
            text.value()
        assert handle.tell() < 20_000


def test_a_broken_line_is_one_fault_and_the_next_line_counts(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = b'{"question_id": 1, "image": "a.png", "question": "Q", "answer": "A"}\n'
    path.write_bytes(
        good
        + b'{"question_id": 2, "image": "a\n\n\xff\xfe{}\n'
        + b"[1]\n"
        + b"[" * 10**5
        + good[:-1]
    )
    kinds = [
        (place, row if isinstance(row, str) else row.id)
        for place, row in read(split(path, "vqa_jsonl"))
    ]
    assert kinds == [
        ("1", "1"),
        ("2", "broken JSON"),
        ("4", "not UTF-8"),
        ("5", "wrong type"),
        ("6", "broken JSON"),
    ]


def test_parquet_keeps_a_split_and_its_row_numbers(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [{"id": f"r{i}", "split": "ab"[i % 2], "image": f"{i}.png"} for i in range(150)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = read(split(path, "parquet", selected="b"))
    assert [record.id for _, record in found] == [f"r{i}" for i in range(1, 150, 2)]
    assert found[0][0] == "row 2"
    assert found[74][0] == "row 150"


def test_parquet_columns_are_named_when_absent(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": ["a"], "picture": ["a.png"], "question": ["Q"]}), path)
    found = read(split(path, "parquet", fields={"image": "picture"}))
    assert found == [("row 1", Record("a", ("a.png",), question="Q"))]
    with pytest.raises(InputError, match="unknown column 'pictures'. Did you mean 'picture'"):
        read(split(path, "parquet", fields={"image": "pictures"}))
    with pytest.raises(InputError, match="unknown column 'split'"):
        read(split(path, "parquet", selected="train"))


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "rows.parquet").write_text("hello")
    with pytest.raises(InputError, match="not readable as Parquet"):
        read(split(tmp_path / "rows.parquet", "parquet"))


# --- rows ---


def said(*values, first="human"):
    order = ("human", "gpt") if first == "human" else ("gpt", "human")
    return [{"from": order[i % 2], "value": value} for i, value in enumerate(values)]


def converse(turns, image="a.png"):
    fields = {"image": "image", "conversations": "conversations"}
    return from_mapping({"image": image, "conversations": turns}, fields)


@pytest.mark.parametrize(
    "text", ["<image>\nWhat?", "<image>What?", "What?", " \n<image>\n\nWhat? "]
)
def test_an_image_in_front_needs_no_place(text):
    assert converse(said(text, "Cat")).turns == (("What?", "Cat"),)


def test_an_image_stays_at_its_marker():
    assert converse(said("What?\n<image>", "Cat")).turns == ((f"What?\n{PLACE}", "Cat"),)
    turns = said("A <image> B", "1", "<image>\nC", "2")
    expected = ((f"A {PLACE} B", "1"), (f"{PLACE}\nC", "2"))
    assert converse(turns, ["a.png", "b.png"]).turns == expected
    turns = [{"from": "system", "value": "Be short."}, *said("<image>\nA", "1")]
    assert converse(turns).turns == ((f"Be short.\n{PLACE}\nA", "1"),)


def test_a_question_of_a_column_keeps_its_markers_too():
    fields = {"image": "image", "question": "question"}
    row = {"image": ["a.png", "b.png"], "question": "Is <image> like <image>?"}
    assert from_mapping(row, fields).question == f"Is {PLACE} like {PLACE}?"


@pytest.mark.parametrize("column", ["answers", "choices", "knowledge"])
@pytest.mark.parametrize(
    ("text", "kind"), [("an <image>", "image marker"), (f"a {PLACE}", "reserved character")]
)
def test_only_questions_hold_markers(column, text, kind):
    row = {"image": "a.png", column: [text, "b"] if column == "choices" else text}
    with pytest.raises(RowError) as caught:
        from_mapping(row, {name: name for name in readers.NAMES})
    assert caught.value.kind == kind


def test_turns_images_and_text_only_rows():
    record = converse(said("<image>\n<image>\nA?", "1", "B?", "2"), ["a.png", "b.png"])
    assert record.images == ("a.png", "b.png")
    assert record.turns == (("A?", "1"), ("B?", "2"))
    assert converse(said("Hello?", "Hi"), None).images == ()


@pytest.mark.parametrize(
    ("turns", "image", "kind"),
    [
        ([], "a.png", "empty conversation"),
        ("text", "a.png", "broken conversation"),
        (said("Q"), "a.png", "broken conversation"),
        (said("Q", "A", "Q"), "a.png", "broken conversation"),
        (said("Q", "A", first="gpt"), "a.png", "broken conversation"),
        ([{"from": "human"}, {"from": "gpt", "value": "A"}], "a.png", "broken conversation"),
        (["Q", "A"], "a.png", "broken conversation"),
        (said("<image>\n", "A"), "a.png", "empty question"),
        (said("<image>\nQ", " "), "a.png", "empty answer"),
        (said("<image>\nQ", "A"), None, "missing image"),
        (said("<image>\nQ", "A"), "", "missing image"),
        (said("<image>\nQ", "A"), ["a.png", None], "missing image"),
        (said("<image>\nQ", "A"), ["a.png", "b.png"], "image count"),
        (said("<image> or <image>", "A"), "a.png", "image count"),
        (said("Q", "<image>"), "a.png", "image marker"),
        (said("<image>\nQ", "A", "<image>", "B"), ["a.png", "b.png"], "empty question"),
        (said(f"a {PLACE}", "A"), "a.png", "reserved character"),
        (said("Q", f"a {PLACE}"), "a.png", "reserved character"),
    ],
)
def test_faulty_conversations(turns, image, kind):
    with pytest.raises(RowError) as caught:
        converse(turns, image)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("id", 1.5, "wrong type"),
        ("id", " ", "wrong type"),
        ("image", 3, "missing image"),
        ("image", None, "missing image"),
        ("image", {"bytes": None, "path": None}, "missing image"),
        ("question", ["Q"], "wrong type"),
        ("answers", True, "wrong type"),
        ("answers", {"answer": "A"}, "wrong type"),
        ("answers", "  ", "empty answer"),
        ("answers", ["", ""], "empty answer"),
        ("choices", "A B", "wrong type"),
        ("choices", ["A", ""], "bad choices"),
        ("answer_index", "one", "wrong type"),
        ("answer_index", True, "wrong type"),
        ("box", [1, 2, 3], "bad box"),
        ("box", "1,2,3,4", "bad box"),
        ("box", [1, 2, 3, None], "bad box"),
        ("box", [0, 0, 10**400, 5], "bad box"),
        ("width", 0, "bad size"),
        ("width", 10**400, "bad size"),
        ("width", "9" * 5000, "wrong type"),
    ],
)
def test_values_of_the_wrong_kind(column, value, kind):
    row = {"image": "a.png", "width": 4, "height": 4, column: value}
    with pytest.raises(RowError) as caught:
        from_mapping(row, {name: name for name in readers.NAMES})
    assert caught.value.kind == kind


def test_answers_may_be_numbers_or_partly_blank():
    fields = {"answers": "answer"}
    assert from_mapping({"answer": 5}, fields).answers == ("5",)
    assert from_mapping({"answer": [" a ", "", 2.5]}, fields).answers == ("a", "", "2.5")


# --- formats that join or differ by split ---


@pytest.fixture
def coco(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "seven.jpg"}, {"id": 3, "image": "three.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 3, "caption": "Three."},
            {"id": 2, "image_id": 7, "caption": "Seven."},
            {"id": 5, "image_id": 3, "caption": "A three."},
        ],
    }
    path = tmp_path / "captions.json"

    def write(change=lambda content: None):
        change(content)
        path.write_text(json.dumps(content))
        return path

    return write


def test_coco_test_rows_are_images_with_all_captions(coco):
    assert read(split(coco(), "coco_captions", "test")) == [
        ("images[0]", Record("7", ("seven.jpg",), answers=("Seven.",))),
        ("images[1]", Record("3", ("three.jpg",), answers=("Three.", "A three."))),
    ]


def test_coco_training_rows_are_captions(coco):
    found = read(split(coco(), "coco_captions", "train"))
    assert [record.id for _, record in found] == ["1", "2", "5"]
    assert found[2] == ("annotations[2]", Record("5", ("three.jpg",), answers=("A three.",)))


def test_coco_faults(coco):
    def damage(content):
        content["images"] += [{"id": 9}, "text", {"id": [1], "image": "x.jpg"}]
        content["annotations"] += [{"image_id": 99, "caption": "Lost."}, {"image_id": 9}, 5]

    found = dict(read(split(coco(damage), "coco_captions", "test")))
    assert found["images[2]"] == "missing image"
    assert found["images[3]"] == "wrong type"
    assert found["annotations[3]"] == "unknown image"
    assert found["annotations[5]"] == "unknown image"
    found = dict(read(split(coco(), "coco_captions", "train")))
    assert found["annotations[3]"] == "unknown image"
    assert found["annotations[4]"] == "missing image"
    assert found["annotations[5]"] == "unknown image"


@pytest.mark.parametrize("text", ["[]", "{}", '{"images": {}}', "{", '{"images": [], "annot'])
def test_a_file_that_is_no_coco_file(tmp_path, text):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(InputError, match=r"captions\.json"):
        read(split(tmp_path / "captions.json", "coco_captions", "test"))


def vizwiz(tmp_path, counts) -> Split:
    questions, annotations = tmp_path / "val.jsonl", tmp_path / "answers.json"
    rows = [{"question_id": i, "image": "a.jpg", "question": "Q"} for i in range(len(counts))]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [
        {"question_id": i, "answers": [{"answer": f"a{k}"} for k in range(count)]}
        for i, count in enumerate(counts)
        if count is not None
    ]
    annotations.write_text(json.dumps({"annotations": given}))
    return split(questions, "vizwiz", "test", annotations=annotations)


def test_vizwiz_joins_ten_answers_to_each_question(tmp_path):
    (_, first), *others = read(vizwiz(tmp_path, [10, 9, None, 11]))
    assert first.answers == tuple(f"a{k}" for k in range(10))
    assert others == [("2", "answer count"), ("3", "missing answer"), ("4", "answer count")]


def test_llava_test_rows_differ_from_training_rows(tmp_path):
    path = tmp_path / "rows.json"
    train = {"id": "a", "image": "a.png", "conversations": said("<image>\nQ", "A")}
    test = {"question_id": 4, "image": "b.png", "text": "Q", "answer": "A"}
    path.write_text(json.dumps([train]))
    assert read(split(path, "llava_json")) == [
        ("item 1", Record("a", ("a.png",), turns=(("Q", "A"),)))
    ]
    path.write_text(json.dumps([test]))
    assert read(split(path, "llava_json", "test")) == [
        ("item 1", Record("4", ("b.png",), question="Q", answers=("A",)))
    ]


def test_llava_test_rows_may_be_text_only_or_carry_the_marker(tmp_path):
    path = tmp_path / "rows.json"
    row = {"question_id": 1, "text": "Q?", "answer": "A"}
    marked = {"question_id": 2, "image": "a.png", "text": "<image>\nQ?", "answer": "A"}
    lost = {"question_id": 3, "text": "<image>\nQ?", "answer": "A"}
    path.write_text(json.dumps([row, marked, lost]))
    assert read(split(path, "llava_json", "test")) == [
        ("item 1", Record("1", question="Q?", answers=("A",))),
        ("item 2", Record("2", ("a.png",), question="Q?", answers=("A",))),
        ("item 3", "missing image"),
    ]


def test_a_truncated_llava_file_gives_its_sound_rows_and_a_fault(tmp_path):
    path = tmp_path / "rows.json"
    row = {"id": "a", "image": "a.png", "conversations": said("Q", "A")}
    path.write_text(json.dumps([row, row])[:-20])
    found = read(split(path, "llava_json"))
    assert found[0][1].id == "a"
    assert found[1:] == [("", "broken JSON")]


# --- the datasets library ---


@pytest.fixture
def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6)).save(stream, "PNG")
    return stream.getvalue()


def test_datasets_reads_a_parquet_file_with_embedded_images(tmp_path, picture):
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    rows = {"image": [{"bytes": picture, "path": "x.png"}] * 2, "caption": ["A.", "B."]}
    features = Features({"image": ImageFeature(), "caption": Value("string")})
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    found = read(split(tmp_path / "rows.parquet", "datasets", fields={"answers": "caption"}))
    assert found[1] == ("row 2", Record(images=(picture,), answers=("B.",)))
    with pytest.raises(InputError, match="Did you mean 'caption'"):
        read(split(tmp_path / "rows.parquet", "datasets", fields={"answers": "captoin"}))


def test_datasets_reads_a_folder_of_images_with_metadata(tmp_path, picture):
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(picture)
    rows = [{"file_name": f"{name}.png", "question": f"{name}?"} for name in ("a", "b")]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [record for _, record in read(split(tmp_path / "pictures", "datasets"))]
    assert [record.question for record in found] == ["a?", "b?"]
    assert [Path(record.images[0]).name for record in found] == ["a.png", "b.png"]


def test_datasets_reads_a_saved_folder_by_split(tmp_path):
    from datasets import Dataset, DatasetDict

    both = {name: Dataset.from_dict({"image": [f"{name}.png"]}) for name in ("train", "validation")}
    DatasetDict(both).save_to_disk(tmp_path / "saved")
    found = read(split(tmp_path / "saved", "datasets", "test", selected="validation"))
    assert found == [("row 1", Record(images=("validation.png",)))]
    with pytest.raises(InputError, match="unknown split 'test'. Allowed: train, validation"):
        read(split(tmp_path / "saved", "datasets", "test"))


def test_datasets_names_files_it_does_not_know(tmp_path):
    (tmp_path / "rows.xls").write_text("x")
    with pytest.raises(InputError, match=r"unknown file type '\.xls'"):
        read(split(tmp_path / "rows.xls", "datasets"))


# --- spellings, numbers and files that people have ------------------------------------------------

ROLES = [
    [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Q"},
     {"from": "gpt", "value": "A"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"},
     {"role": "assistant", "content": "A"}],
]  # fmt: skip


@pytest.mark.parametrize("turns", ROLES)
@pytest.mark.parametrize("column", ["conversations", "messages"])
@pytest.mark.parametrize("text", [False, True])
def test_roles_and_system_turns_are_read(turns, column, text):
    row = {"image": "a.png", column: json.dumps(turns) if text else turns}
    record = from_mapping(row, {"image": "image", "conversations": "conversations"})
    assert record.turns == (("Be brief.\nQ", "A"),)


@pytest.mark.parametrize("column", ["image", "images", "image_path", "img", "file_name"])
@pytest.mark.parametrize("value", ["a.png", ["a.png"]])
def test_common_spellings_of_the_image_column(column, value):
    record = from_mapping({column: value, "question": "Q"}, {"image": "image"})
    assert record.images == ("a.png",)


def test_a_column_that_the_manifest_names_stands_alone():
    with pytest.raises(RowError, match="picture"):
        from_mapping({"image": "a.png"}, {"image": "picture"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[("007", "007"), ("NA", "NA"), (7.0, "7"), (3.5, "3.5"), (1e5, "100000"), (12, "12")],
        *[(9e15, "9000000000000000"), (1e16, "1e+16"), (1e300, "1e+300"), (-1e300, "-1e+300")],
        *[(-0.0, "0"), (10**20, "100000000000000000000")],
    ],
)
def test_numbers_are_their_digits(value, text):
    assert texts(value, "answers") == (text,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("nan")]])
def test_a_number_that_is_none_is_a_missing_answer(value):
    with pytest.raises(RowError) as caught:
        texts(value, "answers")
    assert caught.value.kind == "missing answer"


SHORT = {
    "answers": [0.1, 2.0, 3.14],
    "choices": [[0.1, None], [], [0.7]],
    "box": [[0.2, 0.3], None, [1.5]],
}


@pytest.mark.parametrize("form", ["parquet", "datasets"])
@pytest.mark.parametrize("width", [pa.float16(), pa.float32(), pa.float64()])
def test_short_floats_give_their_shortest_digits(tmp_path, form, width):
    kinds = {"answers": width, "choices": pa.list_(width), "box": pa.large_list(width)}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({n: pa.array(v, kinds[n]) for n, v in SHORT.items()}), path)
    rows = [row for _, row in readers.rows(split(path, form))]
    for name, values in SHORT.items():
        assert [row[name] for row in rows] == values


def test_short_floats_in_structures_are_found(tmp_path):
    kind = pa.struct({"score": pa.float32(), "name": pa.string()})
    path = tmp_path / "t.parquet"
    turns = [[{"score": 0.1, "name": "a"}, None]]
    pq.write_table(pa.table({"conversations": pa.array(turns, pa.list_(kind))}), path)
    assert [row for _, row in readers.rows(split(path, "parquet"))] == [{"conversations": turns[0]}]


@pytest.mark.parametrize("form", ["vqa_jsonl", "llava_json"])
def test_a_number_of_thousands_of_digits_is_a_fault(tmp_path, form):
    path = tmp_path / "t.json"
    text = '{"question_id": ' + "1" * 5000 + "}"
    path.write_text(f"[{text}]" if form == "llava_json" else text)
    assert [kind for _, kind in read(split(path, form))] == ["broken JSON"]
    with pytest.raises(InputError, match="not valid JSON"):
        containers.whole(path)
    with pytest.raises(RowError, match="no JSON"):
        from_mapping({"conversations": text}, {"conversations": "conversations"})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_is_skipped_and_gz_is_unpacked(tmp_path, mark, packed):
    path = tmp_path / ("t.jsonl.gz" if packed else "t.jsonl")
    pack = gzip.compress if packed else bytes
    path.write_bytes(pack(mark + b'{"a": 1}\n\n{"a": 2}\n'))
    assert [containers.loads(raw) for _, raw in containers.lines(path)] == [{"a": 1}, {"a": 2}]
    path.write_bytes(pack(mark + b'[{"a": 1}]'))
    assert [raw for _, raw in containers.array(path)] == [{"a": 1}]
    assert containers.whole(path) == [{"a": 1}]


def test_lines_and_arrays_taken_for_each_other_name_the_right_format(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('[{"a": 1}]')
    with pytest.raises(RowError, match="format llava_json reads arrays") as caught:
        list(containers.lines(path))
    assert caught.value.kind == "wrong format"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(RowError, match="internvl_jsonl"):
        list(containers.array(path))


@pytest.mark.parametrize("name", ["train", "test"])
def test_coco_ids_that_come_twice_are_a_fault(coco, name):
    def twice(content):
        content["images"].append(dict(content["images"][0]))

    with pytest.raises(InputError, match=r"images\[\d\]: id \w+ again"):
        read(split(coco(twice), "coco_captions", name))


@pytest.mark.parametrize("name", ["train", "test"])
def test_coco_ids_as_text_match_numbers(coco, name):
    expected = len(read(split(coco(), "coco_captions", name)))

    def as_text(content):
        for image in content["images"]:
            image["id"] = str(image["id"])

    assert len(read(split(coco(as_text), "coco_captions", name))) == expected


def test_values_of_a_csv_file_are_its_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffid,answers\n1,007\n2,NA\n3,1e5\n4,null\n5,3.50\n6,\n7,a,b\n8\n")
    rows = [row for _, row in containers.table(path, ["answers"])]
    assert [row["answers"] for row in rows[:6]] == ["007", "NA", "1e5", "null", "3.50", ""]
    assert all(isinstance(row, RowError) for row in rows[6:])
    with pytest.raises(InputError, match="unknown column 'answer'. Did you mean 'answers'"):
        list(containers.table(path, ["answer"]))

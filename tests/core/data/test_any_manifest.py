"""Whatever a manifest says, it is a manifest or a fault that is told: no other error."""

import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.base.config import schema
from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.manifests import Manifest, Split, load_manifest
from stages.core.data.readers import formats
from stages.core.data.readers.record import Record

MANIFEST = {
    "name": "things",
    "kind": "open_vqa",
    "source": {"name": "Things", "version": "1", "licence": "CC0"},
    "format": "vqa_jsonl",
    "train": {"file": "rows.jsonl", "split": "a", "images": ".", "rows": 1},
    "test": {"file": "rows.jsonl", "fields": {"id": None}},
    "root": ".",
    "linked_roots": [],
    "fields": {"question": "question"},
    "prompt": "{question}",
    "metric": "accuracy",
    "generation": {"max_new_tokens": 10, "min_new_tokens": 1},
}
KEYS = sorted(schema("manifest")["properties"])
WORDS = sorted(
    {
        *KEYS,
        *schema("manifest")["$defs"]["format"]["enum"],
        *schema("manifest")["$defs"]["split"]["properties"],
    }
)
ODD = [
    *WORDS,
    "",
    ".",
    "..",
    "/",
    "~",
    "~/x",
    "\x00",
    "a" * 300,
    "rows.jsonl",
    "{",
    "{}",
    "{question}",
]
ODD += ["{0}", "{question!r}", "{question:>9}", "{question.x}", "<image>", "/".join(["a"] * 3000)]
TEXT = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
SCALAR = st.one_of(
    TEXT,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
)
KEY = TEXT | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.dates()
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3),
    max_leaves=6,
)
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def try_it(folder, text: str) -> None:
    (folder / "rows.jsonl").write_text('{"question_id": 1, "split": "a", "image": "a.png"}\n')
    path = folder / "things.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        manifest = load_manifest(path)
    except InputError as error:
        assert str(error).startswith(str(path))
        return
    assert isinstance(manifest, Manifest)
    for name in ("train", "test"):
        try:
            split = manifest.split(name)
            assert isinstance(split, Split)
            read_all(split)
        except InputError as error:
            assert name in str(error) or str(split.path) in str(error)


def read_all(split: Split) -> None:
    read = formats.reader(split)
    for _, row in formats.rows(split):
        with suppress(RowError):
            assert isinstance(read(row), Record)


def test_the_manifest_that_the_others_start_from_is_sound(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question_id": 1, "split": "a", "image": "a.png"}\n')
    path = tmp_path / "things.yaml"
    path.write_text(as_yaml(MANIFEST))
    for name in ("train", "test"):
        ((_, row),) = formats.rows(load_manifest(path).split(name))
        assert row["question_id"] == 1


def as_yaml(value: object) -> str:
    return yaml.safe_dump(value, allow_unicode=True)


@quick
@given(content=VALUE)
def test_any_content(tmp_path, content):
    try_it(tmp_path, as_yaml(content))


@quick
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUE, min_size=1, max_size=2))
def test_a_sound_manifest_with_keys_of_any_value(tmp_path, changes):
    try_it(tmp_path, as_yaml(MANIFEST | changes))


@quick
@given(data=st.data(), value=VALUE)
def test_a_sound_manifest_with_one_inner_value_changed(tmp_path, data, value):
    changed = json.loads(json.dumps(MANIFEST))
    place = changed
    while isinstance(place[key := data.draw(st.sampled_from(sorted(place)))], dict):
        place = place[key]
        if not place:
            return
    place[key] = value
    try_it(tmp_path, as_yaml(changed))


@quick
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text(tmp_path, text):
    try_it(tmp_path, text)


@quick
@given(data=st.data())
def test_a_sound_text_with_a_piece_taken_out_or_put_in(tmp_path, data):
    text = as_yaml(MANIFEST)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    piece = data.draw(
        st.sampled_from(
            ["", "? ", "- ", "!!int ", "!!set ", "&a ", "*a ", "<<: ", "|", "%", "2024-99-99", "\t"]
        )
    )
    try_it(tmp_path, text[:start] + piece + text[end:])


@pytest.mark.parametrize("value", WORDS)
def test_any_format_of_a_file_of_another(tmp_path, value):
    try_it(tmp_path, as_yaml(MANIFEST | {"format": value}))
    notes = {"train": {"file": "rows.jsonl", "annotations": "rows.jsonl"}}
    try_it(tmp_path, as_yaml(MANIFEST | notes | {"format": value}))


@pytest.mark.parametrize("root", ["\x00", "a" * 300, "b/" * 3000, "rows.jsonl", ""])
def test_roots_that_no_folder_can_be(tmp_path, root):
    try_it(tmp_path, as_yaml(MANIFEST | {"root": root}))
    try_it(tmp_path, as_yaml(MANIFEST | {"linked_roots": [root]}))


@pytest.mark.parametrize("key", ["file", "images", "annotations"])
@pytest.mark.parametrize("value", ["", ".", "\x00", "a" * 300, "b/" * 3000])
def test_paths_that_no_file_can_have(tmp_path, key, value):
    changed = json.loads(json.dumps(MANIFEST))
    changed["train"][key] = value
    try_it(tmp_path, as_yaml(changed))

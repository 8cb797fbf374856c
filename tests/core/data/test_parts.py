"""Turns of chats that are lists of parts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.data.faults import RowError
from stages.core.data.readers import formats
from stages.core.data.readers.parts import joined
from stages.core.data.readers.record import Record, from_mapping
from tests.helpers.splits import split

FIELDS = {"image": "image", "conversations": "conversations"}
TEXT, IMAGE = {"type": "text", "text": "What?"}, {"type": "image"}


def chat(question, answer="Cat", images="a.png", system=None) -> Record:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if system is not None:
        turns.insert(0, {"role": "system", "content": system})
    return from_mapping({"images": images, "messages": turns}, FIELDS)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([TEXT], "What?"),
        ([IMAGE, TEXT], "<image>What?"),
        ([TEXT, IMAGE], "What?<image>"),
        (
            [{"type": "text", "text": "Is "}, IMAGE, {"type": "text", "text": "red?"}],
            "Is <image>red?",
        ),
        ([{"type": "image_url", "image_url": {"url": "a.png"}}, "What", "?"], "<image>What?"),
        (
            [{"type": "image", "text": None}, {"type": "text", "text": "A", "image": None}],
            "<image>A",
        ),
        ([], ""),
        ("What?", "What?"),
        (None, None),
        (3, 3),
    ],
)
def test_parts_are_joined_in_their_order(content, text):
    assert joined(content) == text


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "audio", "audio": "a.wav"}, "part 2 of a turn is of type 'audio'"),
        ({"type": "input_text", "text": "Q"}, "is of type 'input_text'; read are text, image"),
        ({"type": ["text"]}, r"is of type \['text'\]"),
        ({"text": "Q"}, "has no type"),
        ({"type": "text"}, "has no text under 'text'"),
        ({"type": "text", "text": ["Q"]}, "has no text under 'text'"),
        (None, "has no type"),
        ([TEXT], "has no type"),
    ],
)
def test_other_parts_are_faults(part, said):
    with pytest.raises(RowError, match=said) as caught:
        chat([IMAGE, part])
    assert caught.value.kind == "broken conversation"


def test_questions_answers_and_system_turns_may_be_parts():
    answer = [{"type": "text", "text": "A "}, {"type": "text", "text": "cat."}]
    record = chat([TEXT], answer, system=[{"type": "text", "text": "Be brief."}])
    assert record.turns == (("Be brief.\nWhat?", "A cat."),)


@pytest.mark.parametrize(
    ("content", "images", "kind"),
    [
        ([IMAGE, TEXT], None, "missing image"),
        ([IMAGE, TEXT], ["a.png", "b.png"], "image count"),
        ([IMAGE], "a.png", "empty question"),
        ([], "a.png", "empty question"),
    ],
)
def test_image_parts_count_as_markers(content, images, kind):
    with pytest.raises(RowError) as caught:
        chat(content, images=images)
    assert caught.value.kind == kind


@pytest.mark.parametrize("form", ["parquet", "datasets"])
@pytest.mark.parametrize("as_text", [False, True])
def test_parts_in_a_table(tmp_path, form, as_text):
    """Parquet fills the keys that only some parts have."""
    turns = [
        {"role": "user", "content": [IMAGE, TEXT]},
        {"role": "assistant", "content": [{"type": "text", "text": "Cat"}]},
    ]
    row = {"images": ["a.png"], "messages": json.dumps(turns) if as_text else turns}
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    ((_, read),) = formats.rows(split(path, form))
    record = formats.reader(split(path, form))(read)
    assert record.images == ("a.png",)
    ((question, answer),) = record.turns
    assert question.endswith("What?")
    assert answer == "Cat"

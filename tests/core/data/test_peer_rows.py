"""Rows of other benchmarks: padded boxes, options in the question, answers in a second file."""

import json

import pytest
import yaml
from PIL import Image

from stages.core.base.errors import InputError
from stages.core.data.boxes import padded_box
from stages.core.data.faults import RowError
from stages.core.data.manifests import load_manifest
from stages.core.data.rows import sound_rows
from stages.core.data.samples import Converter

BASE = {
    "name": "things",
    "kind": "open_vqa",
    "source": {"name": "Things", "version": "1", "licence": "CC0"},
    "format": "llava_json",
    "train": {"file": "train.json"},
    "test": {"file": "test.json"},
    "prompt": "{question}",
    "metric": "exact",
    "generation": {"max_new_tokens": 10},
}


@pytest.fixture
def task(tmp_path):
    """Write a task with test rows and give its manifest; ``second`` is the second file."""

    def write(rows, second=None, **changes):
        content = BASE | changes
        Image.new("RGB", (80, 40)).save(tmp_path / "wide.png")
        said = [{"question_id": f"q{i}", "image": "wide.png"} | row for i, row in enumerate(rows)]
        (tmp_path / "test.json").write_text(json.dumps(said))
        (tmp_path / "train.json").write_text(json.dumps(said))
        if second is not None:
            content["test"] = content["test"] | {"annotations": "second.json"}
            (tmp_path / "second.json").write_text(json.dumps(second))
        (tmp_path / "things.yaml").write_text(yaml.safe_dump(content))
        return load_manifest(tmp_path / "things.yaml")

    return write


def rows_of(manifest, split="test"):
    found = manifest.split(split)
    return list(sound_rows(manifest, found, Converter(manifest, found, 10_000)))


def turn(question, answer):
    return [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]


# --- boxes of the padded image ---


def test_a_padded_box_is_one_of_the_image():
    # 80 x 40 is padded to 80 x 80, 20 above and below: y of 0.5 is the middle of both.
    assert padded_box("[0.25,0.375,0.75,0.5]", (80, 40)) == pytest.approx((0.25, 0.25, 0.75, 0.5))
    # What lies in the padding is cut off.
    assert padded_box("[0.0, 0.1, 1.0, 0.5]", (80, 40)) == pytest.approx((0, 0, 1, 0.5))
    # A tall image is padded at its sides: x of 0.3 is (0.3 * 80 - 20) / 40.
    assert padded_box("[0.3,0,0.5,1]", (40, 80)) == pytest.approx((0.1, 0, 0.5, 1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a hat", "no box like"),
        ("[0.1,0.2,0.3]", "no box like"),
        ("[10,20,30,40]", "none of shares"),
        ("[0.5,0.2,0.3,0.4]", "none of shares"),
        ("[nan,0.2,0.3,0.4]", "none of shares"),
        ("[0.1,0.0,0.9,0.2]", "in the padding"),
    ],
)
def test_no_padded_box(text, problem):
    with pytest.raises(RowError, match=problem):
        padded_box(text, (80, 40))


def test_grounding_keeps_the_files_text(task):
    text = "[0.25,0.375,0.75,0.5]"
    described = [*turn("Where is the hat?", text), *turn("And there?", "a hat")]
    described[2]["value"] = "And there?"
    padded = {"kind": "grounding", "metric": "coin_grounding", "box": {"format": "padded"}}
    (row,) = rows_of(task([{"text": "Where?", "answer_bbox": text, "size": [80, 40]}], **padded))
    assert row["turns"] == [{"question": "Where?", "answer": text}]
    assert (row["references"], row["box"]) == ([text], pytest.approx([0.25, 0.25, 0.75, 0.5]))
    learnt = rows_of(
        task([{"conversations": turn("Where?", text)}, {"conversations": described}], **padded),
        "train",
    )
    assert [row["box"] is None for row in learnt] == [False, True]
    with pytest.raises(InputError, match="bad box: 2"):
        rows_of(task([{"text": "W?", "answer_bbox": "left"}, {"text": "W?", "answer_bbox": "[1]"}],
                     **padded))  # fmt: skip


# --- options in the question ---

ASKED = "Which?\nA. dog\nB. cat\nAnswer with the option's letter."
LETTERED = {"kind": "choice_vqa", "metric": "choice", "options": "text"}


def test_options_are_read_and_the_prompt_stays(task):
    said = [
        {"text": ASKED, "answer": "B"},
        {"text": ASKED, "answer": "cat"},
        {"conversations": turn(ASKED, "A")},
    ]
    found = rows_of(task(said, **LETTERED))
    assert [row["turns"][0]["question"] for row in found] == [ASKED] * 3
    assert [row["turns"][0]["answer"] for row in found] == ["B", "cat", "A"]
    assert [row["references"] for row in found] == [["B"], ["B"], ["A"]]
    assert [row["choices"] for row in found] == [["dog", "cat"]] * 3


def test_only_metrics_of_options_need_them(task):
    said = [{"text": "Which?", "answer": "cat"}, {"text": ASKED, "answer": "cow"}]
    found = rows_of(task(said, **LETTERED | {"metric": "ucit_accuracy"}))
    assert [(row["references"], row["choices"]) for row in found] == [
        (["cat"], None),
        (["cow"], ["dog", "cat"]),
    ]
    with pytest.raises(InputError, match="bad choices: 1, answer out of range: 1"):
        rows_of(task(said, **LETTERED))


def test_a_prompt_may_follow_the_answer(task):
    other = {"answers": ["Yes", "No"], "prompt": "{question} Yes or no?"}
    said = [{"text": "Is it?", "answer": "Yes"}, {"text": "Which?", "answer": "B"}]
    found = rows_of(task(said, prompt="{question} A letter, please.", prompt_for=other))
    asked = [row["turns"][0]["question"] for row in found]
    assert asked == ["Is it? Yes or no?", "Which? A letter, please."]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"options": "text"}, "options: goes with kind 'choice_vqa'"),
        (LETTERED | {"answer": "text"}, "answer: not with 'options: text'"),
        ({"prompt_for": {"answers": ["Yes"], "prompt": "Hm?"}}, "prompt_for.prompt: .* needs"),
        ({"format": "vqa_jsonl", "test": {"file": "test.json", "annotations": "test.json"}},
         "annotations: goes with format 'vizwiz', and else only"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(task, changes, problem):
    with pytest.raises(InputError, match=problem):
        task([{"text": "Q?", "answer": "x"}], **changes).split("test")


# --- a second file ---

TWO = [{"text": "Which one?"}, {"text": "Which other?", "answer": "wrong"}]


@pytest.mark.parametrize(
    "second",
    [
        [{"question_id": "q0", "answer": "a"}, {"question_id": "q1", "answers": ["b", "c"]}],
        {"data": [{"question_id": "q0", "answers": ["a"]}, {"question_id": "q1", "answers": "bc"}]},
        {"annotations": [
            {"question_id": "q0", "answers": [{"answer": "a"}]},
            {"question_id": "q1", "answers": [{"answer": "b"}, {"answer": "c"}]}]},
        {"q0": {"answer": "a", "isBalanced": True}, "q1": {"answer": ["b", "c"]}},
    ],
)  # fmt: skip
def test_answers_by_question(task, second):
    references = [row["references"] for row in rows_of(task(TWO, second))]
    assert references[0] == ["a"] and "".join(references[1]) == "bc"


CAPTIONS = {
    "images": [{"id": 1, "file_name": "wide.png"}, {"id": 2, "file_name": "wide.png"}],
    "annotations": [{"image_id": i, "caption": f"No. {i}{k}"} for k in "ab" for i in (2, 1)],
}


def test_captions_by_place(task):
    found = rows_of(task(TWO, CAPTIONS, kind="captioning", metric="cider"))
    assert [row["references"] for row in found] == [["No. 1a", "No. 1b"], ["No. 2a", "No. 2b"]]
    assert [row["turns"][0]["question"] for row in found] == ["Which one?", "Which other?"]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (CAPTIONS | {"images": [{"id": 1, "file_name": "other.png"}]}, "other image"),
        (CAPTIONS | {"annotations": [{"image_id": 1, "caption": "x"}]}, "missing answer"),
        ([{"question_id": "q0", "answer": "a"}], "missing answer"),
        ([{"question_id": "q0", "answer": None}, {"question_id": "q1", "answer": "b"}], "missing"),
        ([{"question_id": "q0"}, {"question_id": "q0"}], "entry 2: question_id q0 again"),
        ({"data": "x"}, "answers of no known layout"),
        ([1], "answers of no known layout"),
        ({}, "answers of no known layout"),
    ],
)
def test_a_second_file_that_does_not_fit(task, second, problem):
    with pytest.raises(InputError, match=problem):
        rows_of(task(TWO, second))

"""Whatever is answered: the exact target scores 100, and no text raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.evaluation.choices import letters
from stages.core.evaluation.scores import METRICS, make_scorer, targets_that_fail

PIECES = st.sampled_from(
    ["A", "b", "C", "I", "dog", "cat", "not", "n't", "no", "is", "and", "or", "the", "rather than"]
    + [
        "option",
        "answer",
        "wrong",
        "plan",
        ",",
        ".",
        ":",
        "?",
        "\n",
        "(",
        ")",
        "[",
        "]",
        "[[",
        "\0",
    ]
    + [
        "0",
        "0.5",
        "10",
        "999",
        "1001",
        "-3",
        "1,000",
        "two",
        "dont",
        "'s",
        "\u4e0d",
        "\u662f",
        "\u3002",
    ]
)
OUTPUTS = st.text(max_size=60) | st.lists(PIECES, max_size=25).map(" ".join)
ANSWERS = st.text(max_size=20) | st.lists(PIECES, min_size=1, max_size=4).map(" ".join)


def row(target, references=("x",), choices=None, box=None):
    found = {"turns": [{"question": "q", "answer": target}], "images": [{"path": "map_1.png"}]}
    return found | {"references": list(references), "choices": choices, "box": box}


def score(metric, gold, text):
    return make_scorer(metric, {"s": gold})("s", text)


@given(OUTPUTS, ANSWERS, st.lists(ANSWERS, min_size=2, max_size=5))
@pytest.mark.parametrize("metric", METRICS)
def test_no_output_raises_or_leaves_the_scale(metric, output, answer, options):
    rows = {"choice": row("A", ["A"], options), "iou": row("", box=[0.1, 0.1, 0.5, 0.5])}
    gold = rows.get(metric, row(answer, [answer] * 5 + ["x"] * 5))
    value, parsed = score(metric, gold, output)
    assert 0.0 <= value <= (1000.0 + 1e-9 if metric == "cider" else 100.0)
    assert parsed or value == 0.0


@given(ANSWERS, st.lists(ANSWERS, min_size=6, max_size=6))
@pytest.mark.parametrize(
    "metric", ["accuracy", "exact", "soft_accuracy", "vqa_accuracy", "textvqa"]
)
def test_the_answer_of_four_annotators_is_right(metric, answer, others):
    assert targets_that_fail(metric, {"s": row(answer, [answer] * 4 + others)}) == []
    assert targets_that_fail(metric, {"s": row(answer, [answer] * 10)}) == []


@given(st.lists(ANSWERS.filter(str.strip), min_size=1, max_size=8), st.booleans(), st.data())
def test_the_right_option_is_right_as_letter_or_text(options, by_text, data):
    right = data.draw(st.sampled_from(letters(options)))
    target = options[letters(options).index(right)] if by_text else right
    assert targets_that_fail("choice", {"s": row(target, [right], options)}) == []


@given(st.lists(st.text("abc ", min_size=1, max_size=4).filter(str.strip), min_size=2, max_size=4))
def test_another_options_letter_is_wrong_unless_it_reads_the_same(options):
    for right in letters(options):
        for said in letters(options):
            same = options[ord(said) - 65].strip() == options[ord(right) - 65].strip()
            assert score("choice", row(right, [right], options), said) == (100.0 * same, True)


SPANS = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).filter(lambda span: span[0] < span[1])


@given(SPANS, SPANS)
@pytest.mark.parametrize("metric", ["iou", {"name": "iou", "threshold": 0.99, "inclusive": True}])
def test_the_gold_box_is_right_unless_it_reads_as_shares(metric, across, down):
    (x1, x2), (y1, y2) = across, down
    box = [x1 / 1000, y1 / 1000, x2 / 1000, y2 / 1000]
    target = f"<box>[[{x1},{y1},{x2},{y2}]]</box>"
    failing = targets_that_fail(metric, {"s": row(target, box=box)})
    assert failing == ([] if max(x2, y2) > 1 else ["s"])


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.data())
def test_a_caption_that_is_a_reference_is_right(captions, data):
    target = data.draw(st.sampled_from(captions))
    assert targets_that_fail("cider", {"s": row(target, captions)}) == []

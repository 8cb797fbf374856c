"""Reading answers: VQA normalisation and accuracy, option letters, boxes."""

import pytest

from stages.core.evaluation.answers import (
    exact_match,
    iou,
    normalise,
    parse_box,
    soft_accuracy,
)
from stages.core.evaluation.choices import parse_choice


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        ("  Yes.\n", "yes"),
        ("The dog", "dog"),
        ("a man and an apple", "man and apple"),
        ("two", "2"),
        ("None", "0"),
        ("ten dogs", "10 dogs"),
        ("eleven", "eleven"),
        ("3.5", "3.5"),
        ("3.5.", "3.5"),
        ("U.S.A.", "usa"),
        (".5", ".5"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),  # a comma in a number: all punctuation vanishes
        ("red, white", "red white"),
        ("red,white", "red white"),
        ("t-shirt", "t shirt"),
        ("t- shirt", "t shirt"),
        ("and/or", "and or"),
        ("what?", "what"),  # the mark turns into a space, which is trimmed
        ('"coke"', "coke"),
        ("(left) side", "left side"),
        ("5:30", "5:30"),
        ("$5", "$5"),
        ("50%", "50%"),
        ("dont", "don't"),
        ("don't", "don't"),
        ("shouldnt've", "shouldn't've"),
        ("shouldn'tve", "shouldn't've"),
        ("its", "its"),
        ("were", "were"),
        ("oclock", "o'clock"),
        ("line\none\ttwo", "line 1 2"),
        ("", ""),
        ("the", ""),
        ("A.", ""),  # the article, once the period is gone
        ("naïve café", "naïve café"),
    ],
)
def test_normalise(answer, expected):
    assert normalise(answer) == expected


def test_normalising_leaves_normalised_answers():
    for answer in ("2 door don't", "usa", "3.5", "red white", "10 dogs"):
        assert normalise(answer) == answer


@pytest.mark.parametrize(
    ("matches", "expected"),
    # k of ten match: k annotators see k-1 matches among the others, 10-k see k.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_soft_accuracy_by_hand(matches, expected):
    annotators = ["Red"] * matches + ["blue"] * (10 - matches)
    assert soft_accuracy("the red.", annotators) == pytest.approx(expected, abs=1e-12)


def test_exact_match_with_any():
    assert exact_match("The Two-door", ["sedan", "2 door"]) == 1.0
    assert exact_match("two doors", ["sedan", "2 door"]) == 0.0


CHOICES = ["a dog", "a B cell", "cat", "X-ray"]


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (c). ", "C"),
        ("A. a dog", "A"),
        ("Answer: D", "D"),
        ("The answer is C, not B", "C"),
        ("a dog", "A"),
        ("A dog", "A"),  # full text, in other case
        ("a  dog.", "A"),
        ("a B cell", "B"),  # full text wins over letters inside
        ("Cat", "C"),
        ("x-ray", "D"),
        ("E", None),  # beyond the options
        ("e", None),
        ("E or B", "B"),
        ("it is a bird", None),  # small letters inside a sentence are words
        ("an ABC book", None),
        ("D'Angelo", None),
        ("B-cell", None),
        ("A's", None),
        ("C3", None),
        ("option_C", None),
        ("B: the second", "B"),
        ("**B**", "B"),
        ("", None),
        ("dog", "A"),  # articles play no part
        ("5", None),
    ],
)
def test_parse_choice(output, letter):
    assert parse_choice(output, CHOICES) == letter


def test_number_of_options_limits_the_letters():
    assert parse_choice("E", ["v", "w", "x", "y", "z"]) == "E"
    assert parse_choice("C", ["v", "w"]) is None


@pytest.mark.parametrize(
    ("output", "box"),
    [
        ("<box>[[100,200,300,400]]</box>", (0.1, 0.2, 0.3, 0.4)),
        ("<ref>dog</ref><box>[[ 0, 0, 1000, 1000 ]]</box>", (0.0, 0.0, 1.0, 1.0)),
        ("[[100, 200, 300, 400]]", (0.1, 0.2, 0.3, 0.4)),  # tags dropped by the decoder
        ("[100,200,300,400]", (0.1, 0.2, 0.3, 0.4)),
        ("<box>[[1.5,2.5,3.5,4.5]]</box>", (0.0015, 0.0025, 0.0035, 0.0045)),
        ("<box>[[1,2,3]]</box><box>[[10,20,30,40]]</box>", (0.01, 0.02, 0.03, 0.04)),
        ("<box>[[10,20,30,40],[1,2,3,4]]</box>", (0.01, 0.02, 0.03, 0.04)),
        ("<box>[[300,200,100,400]]</box>", None),  # x2 < x1
        ("<box>[[100,200,300,200]]</box>", None),  # no height
        ("<box>[[100,200,100,400]]</box>", None),  # no width
        ("<box>[[a,b,c,d]]</box>", None),
        ("<box>[[100,200,300,400", None),
        ("100,200,300,400", None),
        ("a dog", None),
        ("", None),
        ("[0.1, 0.2, 0.8, 0.9]", None),  # shares of the image
        ("[0, 0, 1, 1]", None),
        ("[0.1, 0.2, 1.3, 0.9]", None),  # a share too large
        ("[0, 0, 2, 2]", (0.0, 0.0, 0.002, 0.002)),
        ("[120, 80, 1400, 900]", None),  # pixels
        ("[-5, 80, 400, 900]", None),
        ("[100, 80, 400, 1000.5]", None),
    ],
)
def test_parse_box(output, box):
    assert parse_box(output) == (pytest.approx(box) if box else None)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0),
        ((0, 0, 0.5, 1), (0, 0, 1, 1), 0.5),
        ((0, 0, 0.4, 0.4), (0.2, 0.2, 0.6, 0.6), 0.04 / 0.28),
        ((0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1), 0.0),
        ((0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), 0.0),  # touching
        ((0.4, 0.4, 0.6, 0.6), (0, 0, 1, 1), 0.04),
    ],
)
def test_iou(a, b, expected):
    assert iou(a, b) == pytest.approx(expected, abs=1e-12)
    assert iou(b, a) == pytest.approx(expected, abs=1e-12)

"""Options that outputs name: letters as answers, texts, denials, other scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.evaluation.answers import exact_match, parse_box, soft_accuracy
from stages.core.evaluation.choices import letters, parse_choice

PETS = ["cat", "dog"]


@pytest.mark.parametrize(
    ("output", "choices", "letter"),
    [
        ("(b) dog", PETS, "B"),
        ("b. dog", PETS, "B"),
        ("option b", PETS, "B"),
        ("A dog.", PETS, "B"),
        ("A dog is shown, so B", PETS, "B"),
        ("It is not A, it is B", PETS, "B"),
        ("It isn't a dog", PETS, None),
        ("I think it is J", list("klmnopqrst"), "J"),
        ("I think so", list("klmnopqrst"), None),
        ("\\boxed{B}", PETS, "B"),
        ("\uff22", PETS, "B"),
        ("\u9009B", PETS, "B"),
        ("\u7b54\u6848\u662fB\u3002", PETS, "B"),
        ("B<|im_end|>", PETS, "B"),
        ("the dog", PETS, "B"),
        ("Dog!", PETS, "B"),
        ("A and B", PETS, None),
        ("B\u548cA", PETS, None),
        ("AB", PETS, None),
        ("a cat and a dog", PETS, None),
        ("4.0", ["3", "4"], None),
        ("Yes, it is", ["yes", "no"], "A"),
        ("It is vitamin C", ["vitamin A", "vitamin C"], "B"),
        ("It is vitamin A", ["vitamin C", "vitamin A"], "B"),
        ("A big dog", ["A cat", "A dog"], "B"),
        ("", ["", "dog"], None),
        ("A) or B)", PETS, None),
        ("(A) and (B)", PETS, None),
        ("A. B.", PETS, None),
        ("C. cat", PETS, None),
        ("B. A dog", PETS, "B"),
        ("It cannot be B", PETS, None),
        ("Option A is incorrect", PETS, None),
        ("B, because A is wrong", PETS, "B"),
        ("A is not right", PETS, None),
    ],
)
def test_options_named(output, choices, letter):
    assert parse_choice(output, choices) == letter


def test_letters_as_options_go_by_what_is_trained():
    assert parse_choice("A", ["B", "A", "C"], by_text=True) == "B"
    assert parse_choice("A", ["B", "A", "C"]) == "A"


@given(st.text(max_size=40), st.lists(st.text(max_size=8), max_size=6))
def test_any_output_names_an_option_or_none(output, choices):
    assert parse_choice(output, choices) in {None, *letters(choices)}


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6), st.data())
def test_letter_and_text_of_every_option_are_right(choices, data):
    index = data.draw(st.integers(0, len(choices) - 1))
    assert parse_choice(letters(choices)[index], choices) == letters(choices)[index]
    said = parse_choice(choices[index], choices, by_text=True)
    assert choices[letters(choices).index(said)].strip() == choices[index].strip()


@given(st.text(max_size=30))
def test_an_open_answer_matches_itself_and_nothing_only_nothing(answer):
    assert exact_match(answer, [answer]) == 1.0
    assert soft_accuracy(answer, [answer] * 10) == 1.0
    assert exact_match("", [answer]) == float(not answer.strip())


@given(st.text(max_size=60))
def test_a_box_that_is_read_lies_in_the_image(output):
    box = parse_box(output)
    assert box is None or (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4))
def test_boxes_of_the_grid_are_read(numbers):
    x1, y1, x2, y2 = numbers
    read = parse_box(f"<box>[[{x1},{y1},{x2},{y2}]]</box>")
    if x1 < x2 and y1 < y2 and max(numbers) > 1:
        assert read == pytest.approx([number / 1000 for number in numbers])
    else:
        assert read is None

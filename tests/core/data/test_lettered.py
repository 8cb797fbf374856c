"""Options that stand in a question's text."""

import pytest

from stages.core.data.lettered import letter_of, options


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Which?\nA. dog\nB. red cat\nAnswer with the letter.", ("dog", "red cat")),
        ("Which?\n(A) dog\n(B) cat\n(C) cow", ("dog", "cat", "cow")),
        ("Which? A: dog, B: cat, C: cow\nAnswer.", ("dog", "cat", "cow")),
        ("Which?\nOptions: (A) dog (B) cat\n", ("dog", "cat")),
        ("Which?\nA) 1.5 m, at most\nB) 2 m", ("1.5 m, at most", "2 m")),
        ("Vitamin A. is good.\nWhich?\nA. yes\nB. no", ("yes", "no")),
        ("Which?\nA. dog\nB. A. Lincoln\nC. cow", ("dog", "A. Lincoln", "cow")),
        ("Which?\n  A.  dog \n  B.  cat ", ("dog", "cat")),
        ("Which?\nA. dog\nC. cow", None),  # one option alone is none
        ("Which?\nA.\nB. cat", None),  # an empty one
        ("Is it A or B?", None),
        ("", None),
    ],
)
def test_options(text, found):
    assert options(text) == found


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("b", "B"), ("cat", "B"), ("Cat", None), ("C", None), ("", None), ("B.", None)],
)
def test_the_answer_is_a_letter_or_a_text(answer, letter):
    assert letter_of(answer, ("dog", "cat")) == letter

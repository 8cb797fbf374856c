"""Two published accuracies; the expected values follow the scripts' steps by hand.

VQA: each of ``;/[]"{}()=+\\_-><@`,?!`` vanishes if it stands beside a space somewhere in the answer
or if the answer has a comma between digits, else it becomes a space; full stops vanish unless a
digit follows; lower case; number words up to ten; articles; contractions. TextVQA: first lower
case, commas and question marks vanish, ``'s`` becomes a word, then the same.
"""

import pytest

from stages.core.evaluation.vqa_scripts import (
    textvqa_accuracy,
    textvqa_processed,
    vqa_accuracy,
    vqa_processed,
)


@pytest.mark.parametrize(
    ("answer", "vqa", "textvqa"),
    [
        ("Yes.", "yes", "yes"),
        ("  yes \n", "yes", "yes"),
        ("The Dog", "dog", "dog"),
        ("an apple", "apple", "apple"),
        ("A", "", ""),
        ("the.", "", ""),
        ("a/b", "b", "b"),  # the article of "a b"
        ("vitamin a", "vitamin", "vitamin"),
        ("two", "2", "2"),
        ("Two dogs", "2 dogs", "2 dogs"),
        ("none", "0", "0"),
        ("zero", "0", "0"),
        ("ten", "10", "10"),
        ("eleven", "eleven", "eleven"),
        ("twenty-one", "twenty 1", "twenty 1"),
        ("one-way", "1 way", "1 way"),
        ("no one", "no 1", "no 1"),
        ("1,000", "1000", "1000"),
        ("1,000 - 2,000", "1000 2000", "1000 2000"),
        ("1,000-2,000", "10002000", "1000 2000"),  # no comma is left for TextVQA
        ("1,000 (one)", "1000 1", "1000 1"),
        ("$1,000.50", "$1000.50", "$1000.50"),
        ("red,white", "red white", "redwhite"),
        ("red, white", "red white", "red white"),
        ("red , white", "red white", "red white"),
        ("red,white, blue", "redwhite blue", "redwhite blue"),
        ("3.5", "3.5", "3.5"),
        ("3.", "3", "3"),
        (".5", ".5", ".5"),
        ("5 p.m.", "5 pm", "5 pm"),
        ("u.s.a", "usa", "usa"),
        ("www.x.com", "wwwxcom", "wwwxcom"),
        ("10:30", "10:30", "10:30"),
        ("50%", "50%", "50%"),
        ("1/2", "1 2", "1 2"),
        ("t-shirt", "t shirt", "t shirt"),
        ("t-shirt - red", "tshirt red", "tshirt red"),
        ("what?no", "what no", "whatno"),
        ("what? no", "what no", "what no"),
        ("stop!", "stop", "stop"),
        ('"coke"', "coke", "coke"),
        ("(left)", "left", "left"),
        ("c++", "c", "c"),
        ("-5", "5", "5"),
        ("me@home", "me home", "me home"),
        ("dont", "don't", "don't"),
        ("Dont", "don't", "don't"),
        ("don't", "don't", "don't"),
        ("cant.", "can't", "can't"),
        ("couldntve", "couldntve", "couldntve"),  # not listed
        ("couldnt've", "couldn't've", "couldn't've"),
        ("im", "im", "im"),  # listed as "Im", which lower case never meets
        ("ive", "ive", "ive"),
        ("its", "its", "its"),
        ("thats", "that's", "that's"),
        ("that's", "that's", "that 's"),
        ("dog's", "dog's", "dog 's"),
        ("somebody'd", "somebodyd", "somebodyd"),
        ("somebodyd", "somebodyd", "somebodyd"),
        ("yall'd've", "y'all'd've", "y'all'd've"),
        ("twas", "'twas", "'twas"),
        ("don’t", "don’t", "don’t"),  # curly: not the scripts' apostrophe
        ("ＡＢＣ", "ａｂｃ", "ａｂｃ"),
        ("a\tb", "b", "b"),
        ("", "", ""),
        ("." * 33, ".", "."),  # 32 of them vanish
    ],
)
def test_processing(answer, vqa, textvqa):
    assert vqa_processed(answer) == vqa
    assert textvqa_processed(answer) == textvqa


@pytest.mark.parametrize(
    ("matches", "expected"),
    # k of ten match: k annotators see k - 1 matches among the others, 10 - k see k.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)],
)
@pytest.mark.parametrize("accuracy", [vqa_accuracy, textvqa_accuracy])
def test_accuracy_by_annotators_who_agree(accuracy, matches, expected):
    given = ["Two dogs."] * matches + ["cat"] * (10 - matches)
    assert accuracy("the 2 dogs", given) == pytest.approx(expected, abs=1e-12)


def test_where_all_agree_vqa_compares_as_written_and_textvqa_does_not():
    assert vqa_accuracy(" yes\n", ["yes"] * 10) == 1.0
    assert vqa_accuracy("Yes", ["yes"] * 10) == 0.0
    assert vqa_accuracy("Yes", ["yes"] * 9 + ["no"]) == 1.0
    assert textvqa_accuracy("Yes", ["yes"] * 10) == 1.0


def test_where_the_two_differ():
    given = ["that's"] * 5 + ["it"] * 5
    assert (vqa_accuracy("thats", given), textvqa_accuracy("thats", given)) == (1.0, 0.0)
    given = ["redwhite"] * 5 + ["blue"] * 5
    assert (vqa_accuracy("red,white", given), textvqa_accuracy("red,white", given)) == (0.0, 1.0)


def test_nothing_left_matches_nothing_left_as_published():
    given = ["a"] * 5 + ["b"] * 5
    assert (vqa_accuracy(".", given), textvqa_accuracy(".", given)) == (1.0, 1.0)


def test_an_output_without_text_is_right_only_where_the_answer_is_empty():
    given = ["a"] * 5 + ["b"] * 5
    assert (vqa_accuracy("", given), textvqa_accuracy(" ", given)) == (0.0, 0.0)
    given = [""] * 5 + ["b"] * 5
    assert (vqa_accuracy(" ", given), textvqa_accuracy("", given)) == (1.0, 1.0)

"""Other benchmarks' scores: fifty outputs for each, expectations reckoned by hand from the
algorithms of their scripts (data_manifests/README.md names these)."""

import pytest

from stages.core.base.errors import InputError
from stages.core.evaluation.peer_scripts import RULES
from stages.core.evaluation.scores import make_scorer

# Output, gold answer, right. Equal in upper case, and nothing else.
EQUAL_IN_UPPER_CASE = [
    *[("dog", "dog", 1), ("Dog", "dog", 1), ("DOG", "dog", 1), ("dog.", "dog", 0)],
    *[(" dog\n", "dog", 1), ("a dog", "dog", 0), ("the dog", "dog", 0), ("dogs", "dog", 0)],
    *[("", "dog", 0), (".", "dog", 0), ("dog dog", "dog", 0), ("d o g", "dog", 0)],
    *[("2", "2", 1), ("two", "2", 0), ("2.0", "2", 0), ("02", "2", 0), ("+2", "2", 0)],
    *[("A", "A", 1), ("a", "A", 1), ("A.", "A", 0), ("(A)", "A", 0), ("A. dog", "A", 0)],
    *[("B", "A", 0), ("A B", "A", 0), ("option A", "A", 0), ("A\nB", "A", 0)],
    *[("yes", "Yes", 1), ("Yes, it is", "yes", 0), ("yeah", "yes", 0), ("no", "yes", 0)],
    *[("unanswerable", "Unanswerable", 1), ("unsuitable", "unanswerable", 0)],
    *[("straße", "STRASSE", 1), ("é", "É", 1), ("é", "e", 0), ("ﬁsh", "fish", 1)],
    *[("it's", "it\u2019s", 0), ("it's", "its", 0), ("1,000", "1000", 0), ("1 000", "1000", 0)],
    *[("ice-cream", "ice cream", 0), ("ice  cream", "ice cream", 0), ("Ice Cream", "ice cream", 1)],
    *[("<b>dog</b>", "dog", 0), ('"dog"', "dog", 0), ("dog?", "dog?", 1), ("dog", "dog?", 0)],
    *[("\tdog\t", "dog", 1), ("dog\u00a0", "dog", 1), ("d\u0131g", "dig", 1), ("漢", "漢", 1)],
]

# Metric, output, gold answer, share, whether it could be read.
COIN = [
    ("coin_scienceqa", "A", "A", 1, 1),
    ("coin_scienceqa", "a", "A", 1, 1),  # the first single character, in upper case
    ("coin_scienceqa", "A. the sun", "A", 1, 1),
    ("coin_scienceqa", "A.", "A", 1, 1),
    ("coin_scienceqa", "A) the sun", "A", 1, 1),
    ("coin_scienceqa", "The answer is B.", "B", 1, 1),
    ("coin_scienceqa", "I think B", "B", 0, 0),  # "I" is the first to stand alone
    ("coin_scienceqa", "A dog, so B", "B", 0, 1),
    ("coin_scienceqa", "the sun", "A", 0, 0),
    ("coin_scienceqa", "", "A", 0, 0),
    ("coin_scienceqa", "F", "A", 0, 0),
    ("coin_scienceqa", "5 or B", "B", 0, 0),
    ("coin_scienceqa", "it's B", "B", 0, 0),  # the "s" behind the apostrophe stands alone
    ("coin_scienceqa", "B. A", "B", 1, 1),
    ("coin_gqa", "Dog.", "dog", 1, 1),
    ("coin_gqa", "dog...", "dog", 1, 1),
    ("coin_gqa", "dog. ", "dog", 1, 1),
    ("coin_gqa", ".dog", "dog", 0, 1),
    ("coin_gqa", "a dog", "dog", 0, 1),
    ("coin_gqa", "Dog", "Dog", 0, 1),  # the gold answer keeps its case
    ("coin_gqa", "", "dog", 0, 1),
    ("coin_imagenet", "goldfish", "goldfish", 1, 1),
    ("coin_imagenet", "a goldfish bowl", "goldfish", 1, 1),
    ("coin_imagenet", "gold", "goldfish", 1, 1),
    ("coin_imagenet", "", "goldfish", 1, 1),  # contained in every answer
    ("coin_imagenet", "Goldfish", "goldfish", 0, 1),
    ("coin_imagenet", "fish gold", "goldfish", 0, 1),
    ("coin_imagenet", "o", "goldfish", 1, 1),
    ("coin_imagenet", "goldfish.", "goldfish", 1, 1),
    ("coin_imagenet", "gold fish", "goldfish", 0, 1),
    ("coin_ocrvqa", "ANN LEE", "Ann Lee", 1, 1),
    ("coin_ocrvqa", "Ann Lee.", "Ann Lee", 0, 1),
    ("coin_ocrvqa", "Unanswerable", "Unanswerable", 0, 1),
    ("coin_ocrvqa", "unanswerable", "Unanswerable", 1, 1),  # only the capital one is refused
    ("coin_ocrvqa", "straße", "strasse", 0, 1),  # equal in upper case, not in lower case
    ("coin_grounding", "[0.10,0.20,0.50,0.60]", "[0.1,0.2,0.5,0.6]", 1, 1),
    ("coin_grounding", "0.10,0.20,0.50,0.60", "[0.1,0.2,0.5,0.6]", 1, 1),
    ("coin_grounding", "[0.10, 0.20, 0.50, 0.60]", "[0.1,0.2,0.5,0.6]", 1, 1),
    ("coin_grounding", "[0.1,0.2,0.5,0.6]", "[0.1,0.2,0.5,0.6]", 0, 1),  # 0.6 becomes "0."
    # Without its last digit 0.65 is 0.6: overlap .4 x .4 of .4 x .8, a half, which is not enough.
    ("coin_grounding", "[0.1,0.2,0.5,0.65]", "[0.1,0.2,0.5,1.0]", 0, 1),
    ("coin_grounding", "[0.1,0.2,0.5,0.75]", "[0.1,0.2,0.5,1.0]", 1, 1),
    ("coin_grounding", "[0.1,0.2,0.5]", "[0.1,0.2,0.5,0.6]", 0, 0),
    ("coin_grounding", "[0.1,0.2,0.5,0.6,0.7]", "[0.1,0.2,0.5,0.6]", 0, 0),
    ("coin_grounding", "at [0.1,0.2,0.5,0.6]", "[0.1,0.2,0.5,0.6]", 0, 0),
    ("coin_grounding", "[1,0.2,0.5,0.6]", "[0.1,0.2,0.5,0.6]", 0, 0),  # the "1" is cut off
    ("coin_grounding", "", "[0.1,0.2,0.5,0.6]", 0, 0),
    ("coin_textvqa", "Red", "red", 1, 1),
    ("coin_textvqa", "the red.", "red", 1, 1),
    ("coin_textvqa", "blue", "red", 0, 1),
    ("coin_textvqa", "", "a", 1, 1),  # nothing is left of either
    ("coin_textvqa", "", "red", 0, 1),
]
MLLM_CL = [
    ("mllm_cl_ai2d", "turn left", "turn left", 1),
    ("mllm_cl_ai2d", "You should Turn Left now", "turn left", 1),
    ("mllm_cl_ai2d", "left turn", "turn left", 0),
    ("mllm_cl_ai2d", "urban", "Urban.", 1),  # a full stop in the gold answer is dropped
    ("mllm_cl_ai2d", "suburban", "urban", 1),  # one word contains it
    ("mllm_cl_ai2d", "a suburban area", "urban", 1),  # "urban " is there
    ("mllm_cl_ai2d", "two suburbans here", "urban", 0),
    ("mllm_cl_ai2d", "a suburban.", "urban", 1),
    ("mllm_cl_ai2d", "a suburban, yes", "urban", 1),
    ("mllm_cl_ai2d", "an urbane man", "urban", 1),  # " urban" is there
    ("mllm_cl_ai2d", "12", "2", 1),
    ("mllm_cl_ai2d", "", "2", 0),
    ("mllm_cl_ai2d", "Unanswerable 2", "2", 0),
    ("mllm_cl_ai2d", "unanswerable 2", "2", 1),
    ("mllm_cl_pvqa", "yes", "Yes", 1),
    ("mllm_cl_pvqa", "Yes, in the eyes", "yes", 1),
    ("mllm_cl_pvqa", "eyes", "yes", 1),
    ("mllm_cl_pvqa", "no", "yes", 0),
    ("mllm_cl_pvqa", "the liver cell", "liver cells", 0),
    ("mllm_cl_pvqa", "Unanswerable yes", "yes", 0),
    ("mllm_cl_pvqa", "", "yes", 0),
    ("mllm_cl_finvis", "A", "A", 1),
    ("mllm_cl_finvis", "a.", "A", 1),
    ("mllm_cl_finvis", "A .", "A", 1),
    ("mllm_cl_finvis", "(A)", "A", 0),
    ("mllm_cl_finvis", "A. rises", "A", 0),
    ("mllm_cl_finvis", "Y e s.", "Yes", 1),
    ("mllm_cl_finvis", "A\n", "A", 1),
    ("mllm_cl_finvis", "A\nB", "A", 0),
    ("mllm_cl_finvis", "No", "Yes", 0),
    ("mllm_cl_sat", "(A)", "(A)", 1),
    ("mllm_cl_sat", "( a ) two", "(A)", 1),
    ("mllm_cl_sat", "A", "(A)", 0),
    ("mllm_cl_sat", "It is 1.2", "12", 1),
    ("mllm_cl_sat", "a table", "at", 1),  # without the space, "at" is there
    ("mllm_cl_sat", "b table", "at", 0),
    ("mllm_cl_sat", "", "at", 0),
    ("mllm_cl_ocr", "It says STOP here", "stop", 1),
    ("mllm_cl_ocr", "st op", "stop", 0),
    ("mllm_cl_ocr", "ST\nOP", "stop", 1),  # a line's end is nothing
    ("mllm_cl_ocr", "", "stop", 0),
    ("mllm_cl_math", "14", "14", 1),
    ("mllm_cl_math", "14.0", "14", 0),  # no whole number
    ("mllm_cl_math", "The answer is 14", "14", 0),  # left to the judge
    ("mllm_cl_math", "1.50", "1.5", 1),
    ("mllm_cl_math", "2", "2.0", 1),
    ("mllm_cl_math", "", "14", 0),
    ("mllm_cl_math", "[1, 2]", "[1, 2]", 0),  # left to the judge
    ("mllm_cl_math", "007", "7", 1),
    ("mllm_cl_math", "-3", "-3", 1),
]
# Of an image AI2D_1.png, another of MapQA, and the same map with a question for states.
SCIENCE = [
    ("AI2D_1.png", "Name it.", "leaf", "Leaf", 1),
    ("AI2D_1.png", "Name it.", "a leaf", "leaf", 0),
    ("SciVerse_1.png", "Name it.", "Unanswerable", "unanswerable", 0),
    ("map_1.png", "Name it.", "a leaf", "Leaf", 1),
    ("map_1.png", "Which states are dark?", "Ohio,Utah", "Utah,Ohio", 1),
    ("map_1.png", "Which states are dark?", "Ohio", "Utah,Ohio", 0.5),
    ("map_1.png", "Which states are dark?", "Utah, Ohio", "Utah,Ohio", 0.5),  # " ohio" is another
    ("map_1.png", "Which states are dark?", "Utah,Ohio,Iowa", "Utah,Ohio", 1),
]
OPTIONS = ["4", "Red", "green apple"]
CHOICES = [  # of these options the second is right
    ("B", 1, True),
    ("(B) Red", 1, True),
    ("The answer is B.", 1, True),
    ("b", 0, False),  # letters are capitals
    ("red", 1, True),
    ("A or B", 0, False),
    ("Red or green apple", 0, False),
    ("Z red", 0, False),
    ("C", 0, True),
    ("red 4", 0, False),
]
ANLS = [  # one minus the edit distance over the longer length
    *[("12 May", "12 may", 1), ("12 mai", "12 may", 1 - 1 / 6), ("", "", 1), ("", "x", 0)],
    *[("kitten", "sitting", 1 - 3 / 7), ("abc", "xyz", 0), ("ab", "abcd", 0.5)],
    *[("abcd", "ab", 0.5), ("flaw", "lawn", 0.5), ("$5", "5", 0.5), ("a b", "ab", 1 - 1 / 3)],
]
EASYCL = [  # equal without case, punctuation and tags; the first line counts
    *[("Dog", "dog", 1), ("dog.", "Dog", 1), ("The dog", "dog", 0), ("dog\nIt barks", "dog", 1)],
    *[("", "dog", 0), ("\u200bdog", "dog", 1), ("d.o.g", "dog", 1), ("(B)", "B", 1)],
    *[("B. dog", "b dog", 1), ("B", "B.", 1), ("B.", "b", 1), ("B dog", "B", 0), ("b)", "B", 1)],
    *[("ice-cream", "ice cream", 1), ("ice_cream", "ice cream", 1), ("ice cream", "icecream", 0)],
    *[("ice   cream", "ice cream", 1), ("ice\tcream", "ice cream", 1), ("ice - cream", "ice", 0)],
    *[("<b>dog</b>", "dog", 1), ("<B>dog", "dog", 1), ("dog < cat", "dog < cat", 1)],
    *[("dog > cat", "dog cat", 0), ("a<b>c", "ac", 1), ("<>", "<>", 1), ("<dog", "dog", 0)],
    *[("it's", "its", 1), ("it\u2019s", "its", 0), ('"dog"', "dog", 1), ("`dog`", "dog", 1)],
    *[("{dog}", "dog", 1), ("[dog]", "dog", 1), ("/dog", "dog", 0), ("dog!", "dog?", 1)],
    *[("1,000", "1000", 1), ("1.5", "15", 1), ("1:5", "15", 1), ("-1", "1", 1), ("2", "two", 0)],
    *[("50%", "50", 0), ("$5", "5", 0), ("a & b", "a b", 0), ("a;b", "ab", 1), ("é", "É", 1)],
    *[("straße", "STRASSE", 0), ("...", "!", 1), ("...", "", 1), ("yes.", "yes", 1)],
    *[("a. dog", "a dog", 1), ("unanswerable", "Unanswerable.", 1), ("dog cat", "dog, cat", 1)],
]


def row(gold, choices=None, question="Q?", image="x.png"):
    turns = [{"question": question, "answer": gold}]
    images = [{"path": f"/data/images/{image}", "bytes": None}]
    return {"turns": turns, "references": [gold], "choices": choices, "images": images}


def score(metric, gold, output, **more):
    found = row(gold, **more)
    if metric == "coin_textvqa":
        found["references"] = [gold] * 10
    return make_scorer(metric, {"s": found})("s", output)


def test_there_are_fifty_for_each_benchmark():
    mine = [EQUAL_IN_UPPER_CASE, COIN, MLLM_CL + SCIENCE + CHOICES, EASYCL, EQUAL_IN_UPPER_CASE]
    assert [len(answers) >= 50 for answers in mine] == [True] * 5


@pytest.mark.parametrize("metric", ["coin_accuracy", "ucit_accuracy", "trigap_accuracy"])
@pytest.mark.parametrize(("output", "gold", "right"), EQUAL_IN_UPPER_CASE)
def test_equal_in_upper_case(metric, output, gold, right):
    assert score(metric, gold, output) == (100.0 * right, True)


@pytest.mark.parametrize(("metric", "output", "gold", "right", "parsed"), COIN)
def test_coin(metric, output, gold, right, parsed):
    assert score(metric, gold, output) == (100.0 * right, bool(parsed))


@pytest.mark.parametrize(("metric", "output", "gold", "right"), MLLM_CL)
def test_mllm_cl(metric, output, gold, right):
    assert score(metric, gold, output)[0] == 100.0 * right


@pytest.mark.parametrize(("image", "question", "output", "gold", "right"), SCIENCE)
def test_mllm_cl_science(image, question, output, gold, right):
    found = score("mllm_cl_sci", gold, output, question=question, image=image)
    assert found == (100.0 * right, True)


@pytest.mark.parametrize("gold", ["B", "Red"])
@pytest.mark.parametrize(("output", "right", "parsed"), CHOICES)
def test_mllm_cl_math_with_options(gold, output, right, parsed):
    assert score("mllm_cl_math", gold, output, choices=OPTIONS) == (100.0 * right, parsed)


def test_a_formula_is_compared_without_spaces_and_with_its_case():
    asked = "Please write out the expression of the formula in the image using LaTeX format."
    assert score("mllm_cl_ocr", "x ^ 2", "It is x^2", question=asked)[0] == 100.0
    assert score("mllm_cl_ocr", "x ^ 2", "X^2", question=asked)[0] == 0.0
    assert score("mllm_cl_ocr", "x ^ 2", "x^2")[0] == 0.0


@pytest.mark.parametrize(("output", "gold", "share"), ANLS)
def test_trigap_anls(output, gold, share):
    assert RULES["trigap_anls"](output, row(gold))[0] == pytest.approx(share)


@pytest.mark.parametrize(("output", "gold", "right"), EASYCL)
def test_easycl(output, gold, right):
    assert score("easycl_accuracy", gold, output) == (100.0 * right, True)


def test_some_of_ten_annotators_are_a_share():
    found = row("red")
    found["references"] = ["red"] * 2 + ["blue"] * 8
    # Two of ten: left out, one of the two leaves 1/3 and one of the others 2/3.
    share = (2 * 1 / 3 + 8 * 2 / 3) / 10
    assert RULES["coin_textvqa"]("red", found)[0] == pytest.approx(share)


def test_what_a_rule_needs_is_asked_for():
    with pytest.raises(InputError, match="10 annotators' answers, found 1"):
        make_scorer("coin_textvqa", {"s": row("red")})
    with pytest.raises(InputError, match="needs the rows with the names of their images"):
        make_scorer("mllm_cl_sci", {"s": row("red") | {"images": None}})

"""Reading a model's answer: normalised VQA answers and boxes.

:func:`normalise` follows the answer processing of the public VQA evaluation (Antol et al., 2015,
and its evaluation script), including its two oddities: a comma inside a number makes all
punctuation of that answer vanish instead of turning into spaces, and only contractions of the
script's list get their apostrophe back.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD_BEFORE_NO_DIGIT = re.compile(r"\.(?!\d)")
_QUOTES_AND_STOPS = str.maketrans("‘’‛“”。।۔።", "'''\"\"....")  # after NFKC
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
"""


def _one_apostrophe_dropped(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


_RESTORED = {
    misspelt: word for word in _CONTRACTIONS.split() for misspelt in _one_apostrophe_dropped(word)
}


def _strip_punctuation(text: str) -> str:
    has_number_comma = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        at_word_edge = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if at_word_edge or has_number_comma else " ")
    return _PERIOD_BEFORE_NO_DIGIT.sub("", result)


@lru_cache(maxsize=1 << 17)
def normalise(answer: str) -> str:
    """An answer as the VQA evaluation compares it.

    Lower case, without articles and punctuation, number words up to ten as digits, listed
    contractions with their apostrophe. ``"The Two-door, dont"`` becomes ``"2 door don't"``.
    """
    text = unicodedata.normalize("NFKC", answer).translate(_QUOTES_AND_STOPS)
    text = re.sub(r"[\n\t]", " ", text).strip()
    words = (_NUMBER_WORDS.get(word, word) for word in _strip_punctuation(text).lower().split())
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def _same(prediction: str, answer: str) -> bool:
    """Equal after normalisation; where nothing is left of them, equal as they were written."""
    said, right = normalise(prediction), normalise(answer)
    if said or right:
        return said == right
    return prediction.strip().casefold() == answer.strip().casefold()


def soft_accuracy(prediction: str, annotators: Sequence[str]) -> float:
    """VQA accuracy in 0..1: mean over annotators left out of min(1, matches among the rest / 3)."""
    matches = [_same(prediction, given) for given in annotators]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised answer, else 0.0."""
    return float(any(_same(prediction, answer) for answer in answers))


Box = Sequence[float]  # x1, y1, x2, y2 relative to width and height

_NUMBER = r"\s*([+-]?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\[\s*\[?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
GRID = 1000.0  # boxes in texts count thousandths of the image's width and height


def parse_box(prediction: str) -> tuple[float, float, float, float] | None:
    """The first box of four numbers in an output, as [x1, y1, x2, y2] relative to the image.

    The form is ``<box>[[x1,y1,x2,y2]]</box>`` on a grid of 0..1000. The tags may be absent,
    because decoders that drop special tokens drop them too. None if there is no such box, if
    it has no area (x2 <= x1 or y2 <= y1), or if its numbers cannot be of this grid: pixels beyond
    it, negative ones, or shares of the image (all up to 1, or decimals up to 2: a share too large).
    """
    found = _BOX.search(prediction)
    if found is None:
        return None
    numbers = [float(number) for number in found.groups()]
    shares = 1 if all(number.is_integer() for number in numbers) else 2
    if min(numbers) < 0 or max(numbers) > GRID or max(numbers) <= shares:
        return None
    x1, y1, x2, y2 = (number / GRID for number in numbers)
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes with area; 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])

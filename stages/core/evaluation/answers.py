"""Reading a model's answer: leniently compared open answers, and boxes."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from stages.core.evaluation.vqa_scripts import agreement, vqa_processed

_QUOTES_AND_STOPS = str.maketrans("‘’‛“”。।۔።", "'''\"\"....")  # after NFKC


@lru_cache(maxsize=1 << 17)
def normalise(answer: str) -> str:
    """An answer as the VQA evaluation compares it, in whatever Unicode form it is written.

    Lower case, without articles and punctuation, number words up to ten as digits, listed
    contractions with their apostrophe. ``"The Two-door, dont"`` becomes ``"2 door don't"``.
    """
    return vqa_processed(unicodedata.normalize("NFKC", answer).translate(_QUOTES_AND_STOPS))


def _same(prediction: str, answer: str) -> bool:
    """Equal after normalisation; where nothing is left of them, equal as they were written."""
    said, right = normalise(prediction), normalise(answer)
    if said or right:
        return said == right
    return prediction.strip().casefold() == answer.strip().casefold()


def soft_accuracy(prediction: str, annotators: Sequence[str]) -> float:
    """How far an answer agrees with annotators, compared as by :func:`exact_match`; 0..1."""
    return agreement([_same(prediction, given) for given in annotators])


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised answer, else 0.0."""
    return float(any(_same(prediction, answer) for answer in answers))


Box = Sequence[float]  # x1, y1, x2, y2 relative to width and height

_NUMBER = r"\s*([+-]?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\[\s*\[?{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
GRID = 1000.0  # boxes in texts count thousandths of the image's width and height


def parse_box(prediction: str) -> tuple[float, float, float, float] | None:
    """The first sound box of an output, as [x1, y1, x2, y2] relative to the image, or None.

    The form is ``<box>[[x1,y1,x2,y2]]</box>`` on a grid of 0..1000. The tags may be absent,
    because decoders that drop special tokens drop them too. Boxes without area (x2 <= x1 or
    y2 <= y1) and boxes of another unit are passed over: pixels beyond the grid, negative numbers,
    shares of the image (a number between 0 and 1, or none of 2 or more).
    """
    for found in _BOX.finditer(prediction):
        x1, y1, x2, y2 = numbers = [float(number) for number in found.groups()]
        is_grid = min(numbers) >= 0 and 2 <= max(numbers) <= GRID
        if is_grid and not any(0 < number < 1 for number in numbers) and x1 < x2 and y1 < y2:
            return x1 / GRID, y1 / GRID, x2 / GRID, y2 / GRID
    return None


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes with area; 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])

"""Where images stand in a row's text: the markers of files, the places of rows.

A marker is a word, which a text may hold by chance. A place is a code point that Unicode keeps for
programs' own use; texts that hold it are refused, so none can imitate it. A row whose images all
stand in front of its text has no places.
"""

import re
from collections.abc import Iterable, Sequence

from stages.core.data.faults import RowError

MARKER = "<image>"
PLACE = "\ufdd1"
_IN_FRONT = re.compile(rf"(?:\s*{MARKER})+\s*")


def placed(questions: list[str], n_images: int) -> list[str]:
    """A row's questions, without white space around them, with a place instead of every marker.

    Raises :class:`RowError` if there are markers, but not as many as images.
    """
    markers = sum(question.count(MARKER) for question in questions)
    if markers and not n_images:
        raise RowError("missing image", f"the text has {markers} image markers, the row no image")
    if markers and markers != n_images:
        raise RowError("image count", f"{markers} image markers for {n_images} images")
    _refuse_places(questions)
    first, *others = questions
    found = _IN_FRONT.match(first)
    if found and found[0].count(MARKER) == n_images:
        first = first[found.end() :]
    return [question.replace(MARKER, PLACE).strip() for question in (first, *others)]


def without_places(question: str) -> str:
    """The words of a row's question."""
    return question.replace(PLACE, "")


def check_plain(texts: Sequence[str], what: str) -> None:
    """Raises :class:`RowError` if texts that are no questions hold markers; ``what`` names them."""
    if any(MARKER in text for text in texts):
        raise RowError("image marker", f"{what}: {MARKER} stands for an image, in questions only")
    _refuse_places(texts)


def _refuse_places(texts: Iterable[str]) -> None:
    if any(PLACE in text for text in texts):
        name = f"U+{ord(PLACE):04X}"
        raise RowError("reserved character", f"{name} is no character; take it out of the text")

"""Options that stand in a question's text, each behind its letter: "A. dog", "(B) cat"."""

import re
from string import ascii_uppercase

_OF_A_LINE = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]*", re.MULTILINE)
_IN_A_LINE = re.compile(r"(?:^|(?<=[\s,;]))\(?([A-Z])[.):]\s*")


def options(text: str) -> tuple[str, ...] | None:
    """The last list of options in a text, A first, at least two; None if there is none.

    Options start lines, or follow each other within a line. The last one ends with its line.
    """
    for pattern in (_OF_A_LINE, _IN_A_LINE):
        marks = list(pattern.finditer(text))
        starts = [i for i, mark in enumerate(marks) if mark[1] == "A"]
        for start in reversed(starts):
            chain = _chain(marks[start:])
            found = _between(text, chain)
            if len(found) > 1 and all(found):
                return found
    return None


def _chain(marks: list[re.Match]) -> list[re.Match]:
    """The marks A, B, C and so on, as far as they come in order."""
    chain: list[re.Match] = []
    for mark in marks:
        if len(chain) < len(ascii_uppercase) and mark[1] == ascii_uppercase[len(chain)]:
            chain.append(mark)
    return chain


def _between(text: str, chain: list[re.Match]) -> tuple[str, ...]:
    last = text.find("\n", chain[-1].end())
    ends = [mark.start() for mark in chain[1:]] + [last if last >= 0 else len(text)]
    pieces = (text[mark.end() : end] for mark, end in zip(chain, ends, strict=True))
    return tuple(piece.strip().rstrip(",;").strip() for piece in pieces)


def letter_of(answer: str, found: tuple[str, ...]) -> str | None:
    """The letter of the option that an answer is, by its letter or its text; None if it is none."""
    letters = ascii_uppercase[: len(found)]
    if len(answer) == 1 and answer.upper() in letters:
        return answer.upper()
    same = [letter for letter, text in zip(letters, found, strict=True) if text == answer]
    return same[0] if same else None

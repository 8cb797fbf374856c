"""Reading which option an output names: a letter that stands as an answer, or an option's text.

Never by chance: an output that names two options, or only denies one, names none.
"""

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

_BEFORE, _AFTER = r"(?<![A-Za-z0-9_'-])", r"(?![A-Za-z0-9_']|-\w)"
_NEGATED = re.compile(
    r"(?:\bnot|\bcannot|n't|\bneither|\bnor|\bnever|\brather than|\binstead of|\bexcept"
    r"|不是|不选|并非)"
    r"\W*(?:(?:be|the|an?|option|answer|choice|letter)\W+)*$",
    re.IGNORECASE,
)
_WRONG = re.compile(r"\W*(?:is|was)(?:n't| not| wrong| incorrect| false)\b", re.IGNORECASE)
_LED = re.compile(r"\W*([A-Za-z])\s*[).:\]](?!\w)")  # "b. dog", "(b) dog"
_MARKED = re.compile(
    r"\b(?:option|answer|choice|letter)(?:\s+is)?\W*\b([A-Za-z])(?=\W*$|\s*[.,;:)\]])",
    re.IGNORECASE,
)


def letters(choices: Sequence[str]) -> str:
    """The option letters of a question, A first."""
    return ascii_uppercase[: len(choices)]


def _straight(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")


def _plain(text: str) -> str:
    """Case, outer marks and a leading article play no part; inner ones and signs do."""
    text = " ".join(_straight(text).split()).casefold().rstrip(" .!?,;:。").lstrip(" \"'*")
    return re.sub(r"^(?:an?|the)\s+(?=\S)", "", text.rstrip("\"'*"))


def _denied(text: str, start: int) -> bool:
    return _NEGATED.search(text[:start]) is not None


def _whole(prediction: str, choices: Sequence[str]) -> str | None:
    """The option whose text is the output: as written first, then loosely if only one is."""
    options = letters(choices)
    for letter, choice in zip(options, choices, strict=False):
        if choice.strip() and prediction.strip() == choice.strip():
            return letter
    said = _plain(prediction)
    equal = [x for x, choice in zip(options, choices, strict=False) if said == _plain(choice)]
    return equal[0] if said and len(equal) == 1 else None


def _told(text: str, choices: Sequence[str]) -> tuple[set[str], str]:
    """The options whose text stands in the sentence, and the sentence without them."""
    named, rest = set(), text
    texts = {letter: _plain(c) for letter, c in zip(letters(choices), choices, strict=False)}
    for letter, choice in sorted(texts.items(), key=lambda item: -len(item[1])):
        if len(choice) < 2 and not choice.isdigit():
            continue
        pattern = rf"(?<![\w.,-]){re.escape(choice)}(?!\w|[.,]\d|-\w)"
        for found in re.finditer(pattern, rest, re.IGNORECASE):
            if not _denied(rest, found.start()):
                named.add(letter)
        rest = re.sub(pattern, lambda found: "\0" * len(found[0]), rest, flags=re.IGNORECASE)
    return named, rest


def _lettered(text: str, options: str) -> set[str]:
    """The option letters that stand as answers: no article, no pronoun, not denied."""
    for rule in (_LED.match(text), _MARKED.search(text)):
        if rule and rule[1].upper() in options and not _denied(text, rule.start()):
            return {rule[1].upper()}
    named = set()
    for found in re.finditer(rf"{_BEFORE}[{options}]{_AFTER}", text):
        is_word = found[0] in "AI" and re.match(
            r"\s+(?!(?:and|or|is|nor|but)\b)[\w\0]", text[found.end() :]
        )
        wrong = _WRONG.match(text, found.end())
        if not (is_word or wrong or _denied(text, found.start())):
            named.add(found[0])
    return named


def parse_choice(prediction: str, choices: Sequence[str], by_text: bool = False) -> str | None:
    """The option letter that an output names, or None.

    One letter alone counts in either case, an option's full text always; ``by_text`` says which
    goes first where options are themselves letters. Otherwise the letters that stand as answers
    and the options' texts within the sentence must name one option between them.
    """
    options, text = letters(choices), _straight(prediction)
    if not options:
        return None
    alone = re.fullmatch(r"[\W_]*([A-Za-z])[\W_]*", text)
    letter = alone[1].upper() if alone and alone[1].upper() in options else None
    whole = _whole(prediction, choices)
    if whole or letter:
        return (whole or letter) if by_text else (letter or whole)
    led = _LED.match(text)
    if led:
        first, further = led[1].upper(), _lettered(text[led.end() :], options)
        return first if first in options and further <= {first} else None
    told, rest = _told(text, choices)
    named = told | _lettered(rest, options)
    return named.pop() if len(named) == 1 else None

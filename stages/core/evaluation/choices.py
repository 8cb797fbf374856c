"""Reading which option an output names: a letter that stands as an answer, or an option's text.

Never by chance: an output that names two options, or only denies one, names none, and a letter
inside a name (plan B, vitamin A) is no answer.
"""

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase

from stages.core.evaluation.denials import MASK, denied

Mention = tuple[str, int, int]  # option letter, where it starts and ends in the text

_LETTER = re.compile(r"(?<![A-Za-z0-9_'°/&-])(?<!\b\w\.)[A-Za-z](?![A-Za-z0-9_'/&+#]|-\w|\.\w\b)")
_LED = re.compile(r"\W*([A-Za-z])\s*(?:[).:\]](?!\w\b)|\n)")  # "b. dog", "(b) dog"
_LABEL = re.compile(
    r"\b(?:(option|choice|letter|lettre)|answer|antwort|réponse)(?:\s+(?:is|ist|est))?\W*$",
    re.IGNORECASE,
)
_REACH = 80  # characters looked at around a letter
_JOINED = re.compile(r"\b([A-Za-z])\s*(?:,|and|n?or|to|und|oder|et|ou|[和或与、])\s*$")  # "A and" B
_WORD_BEFORE = re.compile(r"(\w+(?:'\w+)?)[^\S\n]*[\"'*]*$")
_WORD_AFTER = re.compile(rf"[\"'*]*[^\S\n]*(\w+(?:'\w+)?|{MASK})")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The words that a letter may stand between. Any other makes it a part of a name or an article.
_LEADING = _words(
    """
    is are was be it's that's 's it so then thus hence therefore because since and or nor not no but
    neither either both only than for with as yes ok maybe perhaps however instead
    answer option choice letter choose chose chosen select selected pick picked say guess think
    believe prefer correct ist sind antwort option buchstabe wähle nehme also und oder
    nicht sondern noch weder es statt est c'est réponse lettre choix choisis et ou ni pas mais donc
    except without unlike doubt doute
    """
)
_FOLLOWING = _words(
    """
    and or nor but rather instead is isn't isnt because since does doesn't doesnt fits matches shows
    describes depicts represents seems looks appears ist und oder noch passt est et ou ni mais
    """
)
_FOLLOWING_NO_WORD = _words(  # but "a can", "I would"
    """
    can cannot can't cant could couldn't would wouldn't will won't should must was wasn't best
    correctly clearly are n'est
    """
)
_CHINESE_LEADING, _CHINESE_FOLLOWING = (
    "是选择为案项和或与即应该以故用非除不",
    "是和或与都项选正对错不才最而也吧呢了",
)


def letters(choices: Sequence[str]) -> str:
    """The option letters of a question, A first."""
    return ascii_uppercase[: len(choices)]


def _straight(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'")
    return text.replace(MASK, " ")


def _plain(text: str) -> str:
    """Case, outer marks and a leading article play no part; inner ones and signs do."""
    text = " ".join(_straight(text).split()).casefold().rstrip(" .!?,;:。").lstrip(" \"'*")
    return re.sub(r"^(?:an?|the)\s+(?=\S)", "", text.rstrip("\"'*"))


def _mask(text: str, mentions: Sequence[Mention]) -> str:
    for _, start, end in mentions:
        text = text[:start] + MASK * (end - start) + text[end:]
    return text


def _whole(prediction: str, choices: Sequence[str]) -> str | None:
    """The option whose text is the output: as written first, then loosely if only one is."""
    options = letters(choices)
    for letter, choice in zip(options, choices, strict=False):
        if choice.strip() and prediction.strip() == choice.strip():
            return letter
    said = _plain(prediction)
    equal = [x for x, choice in zip(options, choices, strict=False) if said == _plain(choice)]
    return equal[0] if said and len(equal) == 1 else None


def _texts(text: str, choices: Sequence[str]) -> list[Mention]:
    """Where options' texts stand in the sentence; the longer text wins over one inside it."""
    mentions: list[Mention] = []
    plain = [_plain(choice) for choice in choices[: len(ascii_uppercase)]]
    for said in sorted({*plain}, key=lambda said: (-len(said), said)):
        if len(said) < 2 and not said.isdigit():
            continue
        pattern = rf"(?<![\w.,-]){re.escape(said)}(?!\w|[.,]\d|-\w)"
        spans = [found.span() for found in re.finditer(pattern, text, re.IGNORECASE)]
        same = [
            letter for letter, other in zip(ascii_uppercase, plain, strict=False) if other == said
        ]
        found = [(letter, *span) for span in spans for letter in same]
        text = _mask(text, found)
        mentions += found
    return mentions


def _stands(letter: str, before: str, after: str) -> bool:
    """Whether a letter between two texts is an answer: no article, pronoun or part of a name."""
    label, same = _LABEL.search(before), letter.casefold()
    if letter.islower() and not (label or re.match(r"[).:\]]", after)):
        return False
    if led := _WORD_BEFORE.search(before):
        word = led[1].casefold()
        leads = word in _LEADING or word == same or word.endswith("ly")
        if not (leads or word[-1] in _CHINESE_LEADING):
            return False
    follower = _WORD_AFTER.match(after)
    if not follower or (label and label[1] and letter.isupper()):
        return True
    word = follower[1].casefold()
    if letter not in "AIa" and (word in _FOLLOWING_NO_WORD or word == MASK):
        return True
    return word in _FOLLOWING or word == same or word[0] in _CHINESE_FOLLOWING


def _letters(text: str, options: str) -> list[Mention]:
    """Where option letters stand as answers; of "vitamins A and B", neither does."""
    mentions, names = [], set()
    for found in _LETTER.finditer(text):
        start, end = found.span()
        low = max(0, start - _REACH)
        before, after = text[low:start], text[end : end + _REACH]
        joined = _JOINED.search(before)
        if (joined and low + joined.start(1) in names) or not _stands(found[0], before, after):
            names.add(start)
        elif found[0].upper() in options:
            mentions.append((found[0].upper(), start, end))
    return mentions


def _sentence(text: str, choices: Sequence[str]) -> set[str]:
    """The options that a sentence names and nowhere denies.

    Where it starts with a letter ("B. The dog ..."), letters alone count.
    """
    options = letters(choices)
    told = _texts(text, choices)
    masked = _mask(text, told)
    lettered = _letters(masked, options)
    masked = _mask(masked, lettered)
    led = _LED.match(text)
    if led:
        index = options.find(led[1].upper())
        said = _plain(text[led.end() :])
        others = {_plain(choice) for choice in choices} - {_plain(choices[index])}
        if index < 0 or said in others:
            return set()
    mentions = lettered if led else told + lettered
    denials = denied(masked, [(start, end) for _, start, end in mentions])
    wrong = {letter for (letter, *_), no in zip(mentions, denials, strict=True) if no}
    return {letter for letter, *_ in mentions} - wrong


def parse_choice(prediction: str, choices: Sequence[str], by_text: bool = False) -> str | None:
    """The option letter that an output names, or None.

    One letter alone counts in either case, an option's full text always; ``by_text`` says which
    goes first where options are themselves letters. Otherwise the letters that stand as answers
    and the options' texts within the sentence must name one option between them, options with the
    same text being one.
    """
    options, text = letters(choices), _straight(prediction)
    if not options:
        return None
    alone = re.fullmatch(r"[\W_]*([A-Za-z])[\W_]*", text)
    letter = alone[1].upper() if alone and alone[1].upper() in options else None
    whole = _whole(prediction, choices)
    if whole or letter:
        return (whole or letter) if by_text else (letter or whole)
    named = _sentence(text, choices)
    texts = {choices[options.index(letter)].strip() for letter in named}
    return min(named) if len(texts) == 1 else None

"""Accuracies of open answers as two published scripts compute them, oddities included.

:func:`vqa_accuracy` is that of the VQA challenge (Antol et al., 2015), :func:`textvqa_accuracy`
that of the TextVQA challenge (Singh et al., 2019). Both count how many of ten annotators gave the
answer. Their oddities: a comma inside a number makes all punctuation of that answer vanish instead
of turning into spaces; only listed contractions get their apostrophe back; full stops vanish up to
the 32nd.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
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
} | {"somebody'd": "somebodyd"}  # the scripts' list has this one the wrong way round


def agreement(matches: Sequence[bool]) -> float:
    """Of which annotators gave the answer: mean over one left out of min(1, others / 3); 0..1."""
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)


def _one_line(text: str) -> str:
    return re.sub(r"[\n\t]", " ", text).strip()


def _strip_punctuation(text: str) -> str:
    has_number_comma = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        at_word_edge = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if at_word_edge or has_number_comma else " ")
    return _STOP.sub("", result, count=32)


@lru_cache(maxsize=1 << 17)
def vqa_processed(answer: str) -> str:
    """An answer as the VQA script compares it where annotators differ."""
    words = _strip_punctuation(_one_line(answer)).lower().split()
    digits = (_NUMBER_WORDS.get(word, word) for word in words)
    return " ".join(_RESTORED.get(word, word) for word in digits if word not in _ARTICLES)


def textvqa_processed(answer: str) -> str:
    """An answer as the TextVQA script compares it: no commas, and ``'s`` is a word."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    return vqa_processed(text)


def vqa_accuracy(prediction: str, annotators: Sequence[str]) -> float:
    """Accuracy of the VQA script, 0..1. Where all annotators agree, it compares as written.

    Unlike the script, an output without text matches only an empty answer.
    """
    if not prediction.strip():
        return agreement([not answer.strip() for answer in annotators])
    said, given = _one_line(prediction), [_one_line(answer) for answer in annotators]
    if len(set(given)) > 1:
        said, given = vqa_processed(said), [vqa_processed(answer) for answer in given]
    return agreement([said == answer for answer in given])


def textvqa_accuracy(prediction: str, annotators: Sequence[str]) -> float:
    """Accuracy of the TextVQA script, 0..1; an output without text as in :func:`vqa_accuracy`."""
    if not prediction.strip():
        return agreement([not answer.strip() for answer in annotators])
    said = textvqa_processed(prediction)
    return agreement([said == textvqa_processed(answer) for answer in annotators])

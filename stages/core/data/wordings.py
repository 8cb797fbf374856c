"""A test question in other words, by kind of change, to see whether routing and answers hold.

``mark``, ``case``, ``polite`` and ``typos`` change any text. The others need the manifest: its
template says which part is the hint at the answer's form, and its key ``prompts`` lists requests
that mean the same. None of these wordings is used in training (``core/dmole/rewording.py`` has its
own).
"""

import re
from collections.abc import Mapping
from itertools import cycle
from typing import Any

KINDS = (
    *("mark", "case", "polite", "typos", "hint_dropped", "hint_reworded", "hint_foreign"),
    *("question_reworded", "both_reworded"),
)
_SHORT = (
    ("Reply with one word.", "Give a short answer.", "Answer briefly, in one or two words."),
    ("Antworte mit einem Wort.", "Réponds en un seul mot."),
)
HINTS = {  # of the field's prompts: in other words, and in other languages
    "Answer the question with a single word or phrase.": _SHORT,
    "Answer the question using a single word or phrase.": _SHORT,
    "Answer with the option's letter directly.": (
        (
            "Reply with one letter.",
            "Give the letter of the right option.",
            "Only the letter, please.",
        ),
        ("Antworte mit dem Buchstaben der Option.", "Réponds par la lettre de l'option."),
    ),
    "Answer with the option's text.": (
        (
            "Reply with the text of one option.",
            "Choose one of the options.",
            "Give the right option.",
        ),
        ("Antworte mit dem Text einer Option.", "Réponds par le texte de l'option."),
    ),
}
POLITE = ("Please help. {}", "Could you help me with this? {}", "Hi! {} Thank you.")


def wordings(text: str, manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    """Other wordings of a row's question under each of :data:`KINDS` that it has.

    Args:
        text: the question with its template filled in.
        manifest: a manifest's content; ``prompt`` and ``prompts`` are read.
    """
    found = {
        "mark": [re.sub(r"[.?!]+$", "", text)],
        "case": [text.lower(), text.upper()],
        "polite": [frame.format(_inner(text)) for frame in POLITE],
        "typos": [_mistyped(text, 0), _mistyped(text, 1)],
    }
    template, prompts = manifest.get("prompt") or "{question}", manifest.get("prompts") or {}
    parts = _parts(template, text)
    if parts is None:  # a conversation, whose prompt is its own
        return found
    head, _, hint = template.rpartition("\n")
    hints, foreign = HINTS.get(hint, ((), ()))
    questions = prompts.get("questions", {}).get(parts.get("question", ""), [])
    made = {
        "hint_dropped": prompts.get("hint_dropped") or ([head] if hints else []),
        "hint_reworded": prompts.get("hint_reworded") or [f"{head}\n{other}" for other in hints],
        "hint_foreign": prompts.get("hint_foreign") or [f"{head}\n{other}" for other in foreign],
        "question_reworded": prompts.get("reworded", []),
    }
    for kind, templates in made.items():
        found[kind] = [_filled(other, parts) for other in templates]
    others = [parts | {"question": question} for question in questions]
    found["question_reworded"] += [_filled(template, other) for other in others]
    both = zip(others, cycle(hints), strict=False)
    found["both_reworded"] = [_filled(f"{head}\n{other}", own) for own, other in both]
    return {kind: texts for kind, texts in found.items() if texts}


def _inner(text: str) -> str:
    return text[:1].lower() + text[1:] if text.startswith("Please") else text


def _parts(template: str, text: str) -> dict[str, str] | None:
    """What stands in the placeholders of a filled template, each the same wherever it is."""
    pattern, pieces = "", re.split(r"\{(\w+)\}", template)
    for i, piece in enumerate(pieces):
        if i % 2:
            pattern += f"(?P={piece})" if piece in pieces[1:i:2] else f"(?P<{piece}>.*)"
        else:
            pattern += re.escape(piece)
    found = re.fullmatch(pattern, text, re.DOTALL)
    return found.groupdict() if found else None


def _filled(template: str, parts: Mapping[str, str]) -> str:
    for name, value in parts.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _mistyped(text: str, skipped: int) -> str:
    """The third and fourth letters of two of the longer words exchanged."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    for i in long[skipped::2][:2]:
        word = words[i]
        words[i] = word[:2] + word[3] + word[2] + word[4:]
    return " ".join(words)

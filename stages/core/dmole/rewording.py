"""Other wordings of a training prompt, so that a router learns the request and not its words.

Made without a model and without knowledge of the task: another frame, synonyms, a hint at the
answer's form dropped, replaced or added, politeness, typing errors, and other requests for a
caption or a box. The line with ``<ref>``, or else the first, is the request; the last line after it
is the hint.
"""

import re

import numpy as np

SYNONYMS = (
    ("picture", "image", "photo"),
    ("shown", "displayed", "visible", "to be seen"),
    ("what", "which"),
    ("kind", "type", "sort"),
    ("thing", "object"),
    ("provide", "give", "write", "return"),
    ("written", "printed"),
    ("caption", "description"),
    ("region", "area", "place"),
    ("group", "class", "category"),
    ("belong to", "fall into"),
    ("colour", "color"),
    ("longest", "largest", "tallest"),
    ("shortest", "smallest"),
    ("fits", "matches", "describes"),
    ("statement", "sentence"),
    ("number", "value"),
    ("name", "say"),
    ("find", "locate"),
    ("coordinates", "position"),
    ("options", "choices"),
)
FRAMES = (
    *("Tell me: {}", "Look at the image. {}", "Question: {}", "{} Look closely.", "Say {}"),
    *("I want to know: {}", "In this picture, {}", "Can you say {}", "Based on the image: {}"),
    *("I have a question. {}", "Kindly answer this: {}", "{} Thanks!", "Hello. {}"),
)
SHORT_HINTS = (
    *("Use one or two words.", "Just the answer, please.", "Keep the answer short.", "Be brief."),
    *("Respond with a single phrase.", "Responde con una palabra.", "Rispondi brevemente."),
    *("Responda com uma palavra.", "Antwoord met één woord.", "Odpowiedz jednym słowem."),
    "Svara med ett ord.",
)
HINTS = {  # by kind of task; SHORT_HINTS for the others
    "choice_vqa": (
        *("Pick one option.", "Select the correct choice.", "Which option is right?"),
        *("State the option that is correct.", "Elige una opción.", "Scegli un'opzione."),
        *("Kies een optie.", "Wybierz jedną opcję."),
    ),
    "captioning": (
        *("Use one sentence.", "Keep it short.", "Responde con una frase."),
        *("Rispondi con una frase.", "Antwoord met één zin.", "Svara med en mening."),
    ),
    "grounding": (
        *("Answer with a box.", "Just the coordinates, please.", "Ange rutans koordinater."),
        *("Da las coordenadas del recuadro.", "Geef de coördinaten van het kader."),
    ),
}
CAPTIONS = (
    *("Describe the image.", "Give a description of what you see.", "Caption this."),
    *("Say in a sentence what can be seen.", "Summarise the picture briefly."),
    *("What is in the image?", "What can you see here? Use one sentence."),
    *("Write one line about this photo.", "Tell me what is depicted."),
)
BOXES = (
    *("Where is {}?", "Show me {} with a box.", "Detect {}.", "Give the box of {}.", "Find {}."),
    *("Mark {} and give its coordinates.", "In which part of the image is {}?"),
    "Point out {} by a rectangle.",
)
_REFERENT = re.compile(r"<ref>(.*?)</ref>", re.DOTALL)


def rewordings(
    prompt: str, kind: str, count: int, random: np.random.Generator, *, mistyped: bool = True
) -> list[str]:
    """So many other wordings of a prompt of a task of ``kind``; they may repeat.

    Args:
        mistyped: some have a typing error, which may be in an option or in what a box is asked of.
    """
    return [_reworded(prompt, kind, random, mistyped) for _ in range(count)]


def _reworded(prompt: str, kind: str, random: np.random.Generator, mistyped: bool) -> str:
    lines = prompt.split("\n")
    at = next((i for i, line in enumerate(lines) if _REFERENT.search(line)), 0)
    before, question, after = lines[:at], lines[at], lines[at + 1 :]
    hint = after.pop() if after else ""
    changes = random.choice(["hint", "synonyms", "frame", "typing"], random.integers(1, 4), False)
    referent = _REFERENT.search(question)
    if kind == "captioning" and random.random() < 0.5:
        question = str(random.choice(CAPTIONS))
    elif kind == "grounding" and referent and random.random() < 0.5:
        question = str(random.choice(BOXES)).replace("{}", referent[1])
    elif "synonyms" in changes:
        question = _with_synonyms(question, random)
    if "hint" in changes:
        others = HINTS.get(kind, SHORT_HINTS)
        hint = "" if random.random() < 0.5 else str(random.choice(others))
    if "frame" in changes and question:
        inner = question[0].lower() + question[1:]
        question = str(random.choice(FRAMES)).replace("{}", inner)
    text = "\n".join(part for part in (*before, question, *after, hint) if part)
    return _mistyped(text, random) if mistyped and "typing" in changes else text


def _with_synonyms(text: str, random: np.random.Generator) -> str:
    """Up to three words replaced, each everywhere; what a box is asked of stays."""
    parts = re.split(r"(<ref>.*?</ref>)", text, flags=re.DOTALL)
    outside = " ".join(parts[::2])
    known = [(w, s) for s in SYNONYMS for w in s if re.search(rf"\b{w}\b", outside, re.IGNORECASE)]
    for index in random.permutation(len(known))[:3]:
        word, words = known[index]
        other = str(random.choice([w for w in words if w != word]))
        parts[::2] = [re.sub(rf"\b{word}\b", other, p, flags=re.IGNORECASE) for p in parts[::2]]
    return "".join(parts)


def _mistyped(text: str, random: np.random.Generator) -> str:
    """Two letters exchanged inside one longer word."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    index = int(random.choice(long))
    word = words[index]
    at = int(random.integers(1, len(word) - 2))
    words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)

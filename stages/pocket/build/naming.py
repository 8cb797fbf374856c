"""Short English names and one-sentence captions from descriptions, titles, keywords and folders."""

from __future__ import annotations

import re

from .wordnet import CONCRETE, WordNet

NOISE = re.compile(
    r"clip ?arts?|nicu buculei|flat icon|svg theme|etiquette|aiga|gradient collection|submission"
    r"|sibmission|iconset|icon-theme|gold-theme|svg |gramastar|advertising|map symbols|http|@"
    r"|open clip|australian maps|rpg|\bclip\b|collection",
    re.IGNORECASE,
)
# Words that describe the drawing, not the thing drawn.
FILLER = set(
    "bw b w symbol icon sign simple generic basic clipart vector image picture drawing contour "  # noqa: SIM905
    "outline architetto style stylized remix the a an my small big little logo art".split()
)
# Keywords that say in which drawer the picture lay.
GENERIC = set(
    "animal food people symbol tool tools office work recreation transportation transport "  # noqa: SIM905
    "building shape computer icon container decoration education electronics geography music "
    "party plant sports sport sign signs_and_symbols special unsorted vehicle clothing menu hash "
    "protein carbohydrate mammal bodypart holiday festive usholiday war religion toy fun logo "
    "cute cartoon black white red blue green color nature object astronomy science medicine "
    "action character person theme emblem image home business life world play design art game "
    "games desktop hardware creation protection web europe buttons dry private human friends "
    "book arrows clouds collection line wildlife pet nice outline water sea us kitchen".split()
)
# Not for this purpose, or broken ("linked image not found" is drawn on the yoga people).
UNFIT = re.compile(
    "yoga_person|erot|sexy|nude|naked|pantyhose|nudo|babe|suicide|porn|swastika", re.IGNORECASE
)
VOWEL = re.compile(r"[aeio]|u(?!ni|se|[st]\b|k\b|rn?al)|hour|honest|x-ray", re.IGNORECASE)


def article(name: str) -> str:
    """`a fire truck`, `an apple`, `scissors`, `the letter K`."""
    head = name.split()[-1]
    if name.startswith(("the ", "The ")) or (
        head.endswith("s") and not head.endswith(("ss", "us"))
    ):
        return name
    return ("an " if VOWEL.match(name) else "a ") + name


def sentence(name: str) -> str:
    """A caption in the manner of the stamps' descriptions."""
    phrase = article(name)
    return phrase[0].upper() + phrase[1:] + "."


def from_description(text: str) -> str | None:
    """`A US dollar ($1.00) called a buck.` -> `US dollar`; None for exclamations."""
    head = re.split(
        r"\s*[(,.;:!?—“\"]|\s(?:called|with|which|that|is|are|from|by|has|in American)\b", text
    )[0]
    opening = re.match(r"(?:an?|the|some)\s+", head, re.IGNORECASE)
    name = head[opening.end() :] if opening else head
    words = name.split()
    if not 0 < len(words) <= 5 or not (opening or len(words) <= 2) or words[0] in ("with", "of"):
        return None
    keep = name[:2].isupper() or name[1:2] in (" ", "-", "") or words[0] in PROPER
    return name if keep else name[0].lower() + name[1:]


PROPER = set(
    "American Canadian European Japanese Chinese Sumatran Christmas Easter Halloween Saturn "  # noqa: SIM905
    "Jupiter Mars Venus Neptune Uranus Pluto Mercury Earth Santa French German Russian African "
    "Australian Egyptian Greek Roman Swiss Indian Asian Siberian British".split()
)


# What a drawer holds, for pictures whose titles and keywords say nothing.
DRAWERS = {"animals/birds": "bird", "animals/bugs": "insect", "animals/dinosaurs": "dinosaur",
           "animals/fish": "fish", "animals/mammals/bears": "bear", "animals/mammals/dogs": "dog",
           "animals/mammals/horses": "horse", "animals/mammals/housecats": "cat",
           "animals": "animal", "buildings/homes": "house", "buildings": "building",
           "food/beverages": "drink", "food/breads_and_carbs": "bread", "food/desserts": "dessert",
           "food/fruit": "fruit", "food/vegetables": "vegetable", "food": "food",
           "people/clothing/hats": "hat", "people/clothing": "piece of clothing",
           "people/smilies": "smiling face", "people/stickmen": "stick man", "people": "person",
           "plants/flowers": "flower", "plants/trees": "tree", "plants": "plant",
           "shapes/arrows": "arrow", "shapes/callouts": "speech bubble", "tools/weapons": "weapon",
           "tools": "tool", "transportation/boating": "boat", "transportation/roadsigns":
           "road sign", "signs_and_symbols/clocks": "clock",
           "signs_and_symbols/led": "light"}  # fmt: skip
RANKS = {"a": "ace", "k": "king", "q": "queen", "j": "jack"}
SUITS = {"c": "clubs", "d": "diamonds", "h": "hearts", "s": "spades"}


class Namer:
    """Turns a clipart's metadata into (name, did it come from its own title?)."""

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet = wordnet

    def clipart(
        self, title: str, stem: str, keywords: list[str], folder: str
    ) -> tuple[str, bool] | None:
        """Title, else file name, else the most special keyword, else what the drawer holds."""
        card = re.fullmatch(r"[a-z]+_([cdhs])_(\d+|[akqj])", stem)
        if card and folder.startswith("recreation/games/cards"):
            return f"{RANKS.get(card[2], card[2])} of {SUITS[card[1]]}", True
        for text in (title, re.sub(r"^aiga_|_?bwh?$|hotel_icon_", "", stem)):
            name = self._phrase(text)
            if name:
                return name, True
        for keyword in sorted(set(keywords), key=lambda k: (-self._depth(k), k)):
            if keyword not in GENERIC and self._concrete(keyword):
                return keyword, False
        drawers = (
            name for prefix, name in DRAWERS.items() if f"{folder}/".startswith(f"{prefix}/")
        )
        name = next(drawers, None)
        return (name, False) if name else None

    def _phrase(self, text: str) -> str | None:
        """At most four English words that end in something visible; None otherwise."""
        if not text or NOISE.search(text):
            return None
        text = re.sub(r"\(.*?\)|['’]s\b", "", text)
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
        words = re.findall(r"[a-zà-ÿ]+", text.lower())
        words = [word for word in words if word not in FILLER]
        while words and not self.wordnet.known(words[-1]) and len(words) > 1:
            words.pop()  # authors' names close the file names
        if not 0 < len(words) <= 4 or not all(map(self._english, words)):
            return None
        name = " ".join(words)
        return name if self._concrete(name) or self._concrete(words[-1]) else None

    def _english(self, word: str) -> bool:
        return word in {"of", "on", "in", "with", "and", "to"} or (
            len(word) > 2 and self.wordnet.known(word)
        )

    def _concrete(self, noun: str) -> bool:
        senses = self.wordnet.senses(noun)[:3]
        return any(sense.lexname in CONCRETE for sense in senses)

    def _depth(self, noun: str) -> int:
        senses = self.wordnet.senses(noun)
        return len(self.wordnet.ancestors(senses[0])) if senses else 0

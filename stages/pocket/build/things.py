"""The four tasks about pictured things: captions, emoji groups, kinds of clipart, glosses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from random import Random

from .draw import page, put, show
from .knobs import KNOBS
from .naming import PROPER
from .objects import Thing
from .rows import choice, row
from .wordnet import WordNet

Make = Callable[[str, int, Random], dict]

# clipart_kind: eight words that the alignment pool's ten kinds do not use, by folder prefix.
DRAWERS = {
    "bird": ("animals/birds", "Animals & Nature/animal-bird"),
    "bug": ("animals/bugs", "animals/insects", "Animals & Nature/animal-bug"),
    "mammal": ("animals/mammals", "Animals & Nature/animal-mammal", "animals/marsupials"),
    "fruit": ("food/fruit", "Food & Drink/food-fruit"),
    "sweet": ("food/dessert", "Food & Drink/food-sweet"),
    "garment": ("people/clothing", "clothes", "Objects/clothing"),
    "architecture": ("buildings/homes", "town/houses", "Travel & Places/place-building"),
    "human": ("people/stickmen", "people/cartoon", "People & Body/person-role",
              "People & Body/person-sport"),
}  # fmt: skip
# Where WordNet files the nouns that our kinds show: other senses of a name are not meant.
SENSES = {"animal": (5,), "plant": (20,), "food": (13, 20), "vehicle": (6,), "building": (6,),
          "tool": (6,), "clothing": (6,), "person": (18,), "sky": (17, 19)}  # fmt: skip
# Names of which WordNet's fitting sense is not the drawn one, or is nothing to see.
MISREAD = set(
    "alien aquila buddy cake dolphin donna enthusiast fireman hook panel rana rosette shower "  # noqa: SIM905
    "signorina sport stable tooth video".split()
)
# Captions that do not join with another one: they say more than what is seen, or too much.
ASIDE = re.compile(r"\b(is|are|was)\b|[—(“.!?,:;]|.{60}")


def stamps_caption(things: list[Thing]) -> Make:
    """One stamp on a named page, or two side by side."""
    knobs = KNOBS["stamps_caption"]
    usable = _by_share(
        t for t in things if t.source == "stamps" and t.caption and not ASIDE.search(_phrase(t))
    )

    def make(split: str, number: int, rng: Random) -> dict:
        side = knobs["side"]
        first = usable[split][number % len(usable[split])]
        canvas, colour = page(rng, side)
        if rng.random() >= knobs["two_things"]:
            put(canvas, first.image, (4, 4, side - 4, side - 4), rng)
            shown = [first]
            caption = f"{_phrase(first)} on a {colour} page."
        else:
            second = rng.choice([t for t in usable[split] if t.group != first.group])
            half = side // 2
            put(canvas, first.image, (2, 2, half - 2, side - 2), rng)
            put(canvas, second.image, (half + 2, 2, side - 2, side - 2), rng)
            shown = [first, second]
            caption = f"{_phrase(first)} to the left of {_inside(_phrase(second))}."
        return row(canvas, [t.group for t in shown], "stamps", first.licence, answers=[caption])

    return make


def emoji_choice(things: list[Thing]) -> Make:
    """Which of Unicode's groups an emoji belongs to; groups are equally frequent."""
    knobs = KNOBS["emoji_choice"]
    usable = _by_share(t for t in things if t.source == "emoji")

    def make(split: str, number: int, rng: Random) -> dict:
        groups = defaultdict(list)
        for thing in usable[split]:
            groups[thing.tags[0]].append(thing)
        names = sorted(groups)
        right = names[number % len(names)]
        thing = groups[right][number // len(names) % len(groups[right])]
        wrong = rng.sample([name for name in names if name != right], knobs["options"] - 1)
        return row(
            show(thing.image, knobs["side"], rng), [thing.group], "emoji", thing.licence,
            question="Which group does this icon belong to?", **choice(rng, right, wrong),
        )  # fmt: skip

    return make


def clipart_kind(things: list[Thing]) -> Make:
    """One of eight kinds in words of its own; kinds are equally frequent."""
    drawers = {"train": defaultdict(list), "test": defaultdict(list)}
    for thing in things:
        if thing.folder.endswith("jewelry"):
            continue
        kind = next((k for k, places in DRAWERS.items() if thing.folder.startswith(places)), None)
        if kind and thing.share in drawers:
            drawers[thing.share][kind].append(thing)

    def make(split: str, number: int, rng: Random) -> dict:
        kind = sorted(DRAWERS)[number % len(DRAWERS)]
        candidates = drawers[split][kind]
        thing = candidates[number // len(DRAWERS) % len(candidates)]
        return row(
            show(thing.image, KNOBS["clipart_kind"]["side"], rng), [thing.group], thing.source,
            thing.licence, question="What kind of thing is shown?", answers=[kind],
        )  # fmt: skip

    return make


def glosses_choice(things: list[Thing], wordnet: WordNet) -> Make:
    """WordNet's gloss of the thing among glosses of things of other kinds."""
    knobs = KNOBS["glosses_choice"]
    glosses = {t.key: gloss for t in things if (gloss := _gloss(t, wordnet, knobs["words"]))}
    usable = _by_share(t for t in things if t.key in glosses)

    def make(split: str, number: int, rng: Random) -> dict:
        thing = usable[split][number % len(usable[split])]
        others = sorted({glosses[t.key] for t in usable[split] if t.kind != thing.kind})
        wrong = rng.sample(others, knobs["options"] - 1)
        return row(
            show(thing.image, knobs["side"], rng), [thing.group], f"{thing.source}, wordnet",
            f"{thing.licence}; WordNet-3.0", question="Which statement fits the picture?",
            **choice(rng, glosses[thing.key], wrong),
        )  # fmt: skip

    return make


def _gloss(thing: Thing, wordnet: WordNet, longest: int) -> str | None:
    """The definition of the name's first fitting sense, cut at the first aside."""
    if not thing.own_title or thing.kind not in SENSES or thing.name in MISREAD:
        return None
    files = SENSES[thing.kind]
    senses = [s for s in wordnet.senses(thing.name)[:3] if s.lexname in files]
    senses.sort(key=lambda sense: files.index(sense.lexname))
    if not senses:
        return None
    text = re.sub(r"\s*\(.*?\)", "", re.split(r"[;:\"]", senses[0].gloss)[0]).strip()
    return text if 3 <= len(text.split()) <= longest else None


def _by_share(things) -> dict[str, list[Thing]]:
    shares = defaultdict(list)
    for thing in things:
        shares[thing.share].append(thing)
    return {name: sorted(group, key=lambda t: t.key) for name, group in shares.items()}


def _phrase(thing: Thing) -> str:
    return thing.caption.rstrip(".!")


def _inside(phrase: str) -> str:
    """The phrase in the middle of a sentence."""
    proper = phrase.split()[0] in PROPER or re.match("[A-Z]{2}", phrase)
    return phrase if proper else phrase[0].lower() + phrase[1:]

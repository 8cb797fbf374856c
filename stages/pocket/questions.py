"""Questions and answers about a composed scene, in many wordings, the stream's among them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy

from stages.pocket.pictures import PALETTE, Box
from stages.pocket.pool import Pool
from stages.pocket.scenes import Item, Scene

SHORT = "\nAnswer the question with a single word or phrase."
LETTER = "\nAnswer with the option's letter directly."
CAPTION = (
    "Provide a one-sentence caption for the provided image.",
    "Provide a one-sentence caption for the provided image.",
    "Describe the image in one sentence.",
    "Write a short caption.",
)
BOX = (
    "Please provide the bounding box coordinates of the region <ref>{}</ref>.",
    "Please provide the bounding box coordinates of the region <ref>{}</ref>.",
    "Where is <ref>{}</ref>? Give its bounding box.",
    "Locate {} with a bounding box.",
)
# The share of a family's turns that alignment uses: long or easily learned ones give way.
KEPT = {
    "choice_name": 0.3,
    "choice_kind": 0.3,
    "choice_word": 0.3,
    "relation": 0.4,
    "spell": 0.4,
    "letter": 0.4,
    "digit": 0.5,
    "place": 0.4,
    "count": 0.5,
    "yes_no": 0.5,
    "chart": 0.3,
}
EDGES = ("left", "top", "right", "bottom")
COORDINATES = ("box", "map_box", "all_boxes", "edge")  # families whose answers hold coordinates
# "sky" is weather and space
KINDS = tuple("animal building clothing food person plant sky symbol tool vehicle".split())  # noqa: SIM905


@dataclass(frozen=True)
class Turn:
    """One question with its answer; ``family`` groups turns in logs and evaluation.

    ``box`` is the relative box of the one thing that the answer locates.
    """

    family: str
    question: str
    answer: str
    box: Box | None = None


def coordinates(box: Box) -> list[str]:
    """The edges of a relative box on the 0-1000 grid: left, top, right, bottom."""
    return [str(round(1000 * min(max(v, 0), 1))) for v in box]


def box_text(box: Box) -> str:
    """A relative box on the 0-1000 grid: ``<box>[[x1,y1,x2,y2]]</box>``."""
    return "<box>[[" + ",".join(coordinates(box)) + "]]</box>"


def place_name(box: Box) -> str:
    """Where a box's centre lies on a 3 x 3 grid, e.g. ``top left``, ``center``."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return f"{row} {column}".strip() or "center"


def compass(place: str) -> str:
    """The same place as on a map: ``top left`` is ``northwest``, the center is the middle."""
    words = {"top": "north", "bottom": "south", "left": "west", "right": "east", "center": "middle"}
    return "".join(words[part] for part in place.split())


def with_article(name: str) -> str:
    """``a``/``an`` before a name; plural and proper names get none."""
    if name[:1].isupper() or (name.endswith("s") and not name.endswith("ss")):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


class Asker:
    """Builds the turns of one scene; ``random`` decides wordings, options and order."""

    def __init__(self, scene: Scene, pool: Pool, random: numpy.random.Generator) -> None:
        self.scene, self.pool, self.random = scene, pool, random

    def turns(self) -> list[Turn]:
        """All turns that make sense for the scene, shuffled."""
        makers: dict[str, Callable[[], list[Turn]]] = {
            "objects": self._objects,
            "text": self._text,
            "numbers": self._numbers,
            "charts": self._charts,
            "maps": self._maps,
        }
        turns = [turn for turn in makers[self.scene.family]() if turn is not None]
        self.random.shuffle(turns)
        return turns

    def _pick(self, options):
        return options[self.random.integers(len(options))]

    def _open(self, family: str, answer: str, *questions: str) -> Turn:
        ending = SHORT if self.random.random() < 0.4 else ""
        return Turn(family, self._pick(questions) + ending, answer)

    def _choice(self, question: str, right: str, wrong: list[str], family: str) -> Turn:
        """Two to five options with letters; the answer is the letter."""
        wrong = sorted({w for w in wrong if w != right})
        self.random.shuffle(wrong)
        options = [right, *wrong[: int(self.random.integers(1, 5))]]
        self.random.shuffle(options)
        listed = ", ".join(f"{chr(65 + i)}. {option}" for i, option in enumerate(options))
        letter = chr(65 + options.index(right))
        return Turn(family, f"{question}\nOptions: {listed}{LETTER}", letter)

    def _some(self, names: list[str], count: int = 4) -> list[str]:
        return [names[i] for i in self.random.integers(0, len(names), count)]

    def _box(self, item: Item, name: str | None = None) -> Turn:
        question = self._pick(BOX).format(name or item.name)
        return Turn("box", question, box_text(item.box), item.box)

    def _edges(self, item: Item, name: str | None = None) -> list[Turn]:
        """Each edge by itself: the shortest way to learn what a box is made of."""
        said = name or item.name
        edges = zip(EDGES, coordinates(item.box), strict=True)
        return [
            Turn("edge", f"Where is the {edge} edge of {said}?", at, item.box) for edge, at in edges
        ]

    def _objects(self) -> list[Turn]:
        items = self.scene.items
        turns = [self._caption(items), self._presence(items), self._count(items)]
        if self.scene.background:
            question = "What color is the background?"
            turns.append(self._open("colour", self.scene.background, question))
        if len(items) > 1:
            turns += [*self._relations(items), self._all_boxes(items)]
        for item in items:
            turns += [self._box(item), self._box(item)] if len(items) > 1 else [self._box(item)]
            turns += self._edges(item)
            place = place_name(item.box)
            if [place_name(other.box) for other in items].count(place) == 1 < len(items):
                turns += [self._box(item, f"the object in the {place}")] * 2
            turns += self._item(item, alone=len(items) == 1)
        return turns

    def _caption(self, items: tuple[Item, ...]) -> Turn | None:
        if len(items) == 1:
            text = items[0].caption or f"{with_article(items[0].name)}.".capitalize()
            return Turn("caption", self._pick(CAPTION), text)
        order = sorted(items, key=lambda item: item.box[0])
        named = [with_article(item.name) for item in order]
        text = ", ".join(named[:-1]) + f" and {named[-1]}."
        return Turn("caption_many", self._pick(CAPTION), text[0].upper() + text[1:])

    def _presence(self, items: tuple[Item, ...]) -> Turn:
        yes = self.random.random() < 0.5
        name = self._pick(items).name if yes else self._pick(self.pool.names)
        yes = name in {item.name for item in items}
        question = f"Is there {with_article(name)} in the image?"
        return self._open("yes_no", "yes" if yes else "no", question)

    def _count(self, items: tuple[Item, ...]) -> Turn:
        return self._open("count", str(len(items)), "How many objects are there?")

    def _all_boxes(self, items: tuple[Item, ...]) -> Turn:
        order = sorted(items, key=lambda item: item.box[0])
        text = ", ".join(f"{item.name} {box_text(item.box)}" for item in order)
        return Turn("all_boxes", "Locate every object.", text)

    def _relations(self, items: tuple[Item, ...]) -> list[Turn]:
        one, two = (items[i] for i in self.random.choice(len(items), 2, replace=False))
        across = abs(one.box[0] - two.box[0]) > abs(one.box[1] - two.box[1])
        axis, words = (0, ("left of", "right of")) if across else (1, ("above", "below"))
        first = one.box[axis] + one.box[axis + 2] < two.box[axis] + two.box[axis + 2]
        said = self._pick(words)
        true = first == (said == words[0])
        question = f"Is the {one.name} {said} the {two.name}?"
        extremes = (("leftmost", 0, min), ("rightmost", 0, max), ("topmost", 1, min))
        word, axis, best = self._pick(extremes)
        item = best(items, key=lambda i: i.box[axis] + i.box[axis + 2])
        return [
            self._open("relation", "yes" if true else "no", question),
            self._open("relation", item.name, f"Which object is {word}?"),
        ]

    def _item(self, item: Item, alone: bool) -> list[Turn | None]:
        place = place_name(item.box)
        which = "shown" if alone else f"at {box_text(item.box)}"
        unique = sum(place_name(other.box) == place for other in self.scene.items) == 1
        if not alone and unique and self.random.random() < 0.6:
            which = f"in the {place}"
        elif not alone and self.random.random() < 0.6:  # naming a box costs 24 tokens
            return [self._open("place", place, f"In which part of the image is the {item.name}?")]
        turns = [
            self._open("name", item.name, f"What is {which}?", f"Name the object {which}."),
            self._open("place", place, f"In which part of the image is the {item.name}?"),
            self._choice(
                f"What is {which}?", item.name, self._some(self.pool.names), "choice_name"
            ),
        ]
        if item.colour:
            question = f"What color is the {item.name}?"
            turns.append(self._open("colour", item.colour, question))
        if item.tags:
            subject = "it" if alone else f"the {item.name}"
            question = f"Which keyword fits {subject}?"
            turns.append(self._open("tag", self._pick(item.tags), question))
        if item.kind:
            question = f"What kind of thing is {which}?"
            turns += [
                self._open("kind", item.kind, question, f"Which category fits what is {which}?"),
                self._choice(question, item.kind, list(KINDS), "choice_kind"),
            ]
        return turns

    def _text(self) -> list[Turn]:
        words = self.scene.items
        turns = [self._open("colour", words[0].colour, "What color are the letters?")]
        whole = ("What is written in the image?", "Read the text.", "What does the sign say?")
        turns.append(self._open("word", self.scene.text, *whole))
        for item in words:
            name = item.name
            turns += [
                self._box(item, f"the word {name}"),
                self._open(
                    "letter", name[0], f"What is the first letter of the {_nth(item, words)}?"
                ),
                self._open(
                    "letter", name[-1], f"What is the last letter of the {_nth(item, words)}?"
                ),
                self._open("spell", " ".join(name), f"Spell the {_nth(item, words)}."),
                self._choice(
                    f"What is the {_nth(item, words)}?",
                    name,
                    self._some(self.pool.words),
                    "choice_word",
                ),
                self._open("word", name, f"What is the {_nth(item, words)}?"),
            ]
        return turns

    def _numbers(self) -> list[Turn]:
        text = self.scene.text
        ask = ("What number is shown?", "What number is written here?", "Read the number.")
        turns = [self._open("number", text, *ask), self._open("number", text, *ask)]
        turns.append(self._open("count", str(len(text)), "How many digits are there?"))
        for index, item in enumerate(self.scene.items):
            question = f"What is digit {index + 1} from the left?"
            turns.append(self._open("digit", item.name, question))
        return turns

    def _charts(self) -> list[Turn]:
        bars = sorted(self.scene.items, key=lambda item: item.value)
        one, two = (bars[i] for i in self.random.choice(len(bars), 2, replace=False))
        turns = [
            self._open("chart", bars[-1].name, "Which bar is the longest?", "Which is highest?"),
            self._open("chart", bars[0].name, "Which bar is the shortest?", "Which is lowest?"),
            self._open("count", str(len(bars)), "How many bars are there?"),
            self._open(
                "chart_compare",
                "yes" if one.value > two.value else "no",
                f"Is the bar of {one.name} longer than that of {two.name}?",
            ),
            self._open("word", ", ".join(i.name for i in self.scene.items), "List the labels."),
        ]
        if one.colour != two.colour:
            for bar, extreme in ((bars[-1], "longest"), (bars[0], "shortest")):
                question = f"What color is the {extreme} bar?"
                turns.append(self._open("chart_colour", bar.colour, question))
            turns.append(self._open("colour", one.colour, f"What color is the bar of {one.name}?"))
        return [
            *turns,
            self._box(one, f"the bar of {one.name}"),
            self._box(bars[-1], "the longest bar"),
        ]

    def _maps(self) -> list[Turn]:
        turns = []
        colours = [item.colour for item in self.scene.items]
        for item in self.scene.items:
            where = place_name(item.box)
            where = self._pick([where, compass(where), compass(where)])
            said = f"the {item.colour} region in the {where}"
            turns += [self._box(item, said), *self._edges(item, said)]
            question = f"What color is the region at {box_text(item.box)}?"
            turns.append(self._open("colour", item.colour, question))
            knowledge = f"Based on the Knowledge: {item.name} is {said} of the map.\n"
            asked = knowledge + BOX[0].format(item.name)
            turns.append(Turn("map_box", asked, box_text(item.box), item.box))
        asked = self._pick(list(PALETTE))
        present = "yes" if asked in colours else "no"
        if asked in colours:
            turns.append(self._open("yes_no", present, f"Is there a region in {asked}?"))
        return turns


def _nth(item: Item, items: tuple[Item, ...]) -> str:
    """``word`` if there is one, else ``first word``/``second word``."""
    return "word" if len(items) == 1 else f"{('first', 'second')[items.index(item)]} word"


def make_turns(scene: Scene, pool: Pool, seed: int) -> list[Turn]:
    """The shuffled turns of scene number ``seed``, thinned by :data:`KEPT`; at least one."""
    random = numpy.random.default_rng([seed, 1])
    turns = Asker(scene, pool, random).turns()
    kept = [turn for turn in turns if random.random() < KEPT.get(turn.family, 1.0)]
    return kept or turns[:1]

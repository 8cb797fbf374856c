"""Read the alignment pool (folder of Parquet files and fonts) into what scenes are drawn from."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pyarrow.parquet as parquet
from PIL import Image

from stages.core.base.errors import InputError
from stages.pocket.pictures import Box, colour_name, visible_part

LARGEST = 112  # pixels a side that objects are kept at
LEAST_AREA, LEAST_COMPACT = 0.02, 0.9  # regions smaller or more scattered are not asked about


@dataclass(frozen=True)
class Thing:
    """A pool object: RGBA picture cropped to its visible part, and its labels."""

    picture: Image.Image
    name: str
    kind: str
    caption: str = ""
    tags: tuple[str, ...] = ()
    colour: str = ""


@dataclass(frozen=True)
class Region:
    """A region of a map: name, relative box, fill colour (RGB, 0..255)."""

    name: str
    box: Box
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Map:
    """A political map (PIL, RGB) and its larger regions."""

    picture: Image.Image
    name: str
    regions: tuple[Region, ...]


@dataclass
class Pool:
    """What scenes are made of: objects, words, fonts (files), digits (28 x 28, 0..255), maps.

    ``digits[d]`` is a uint8 array (n, 28, 28) of handwritten examples of the digit ``d``.
    """

    things: list[Thing]
    words: list[str]
    fonts: list[str]
    digits: list[numpy.ndarray]
    maps: list[Map]
    by_kind: dict[str, list[int]] = field(init=False)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_kind = {}
        for index, thing in enumerate(self.things):
            self.by_kind.setdefault(thing.kind, []).append(index)
        self.names = sorted({thing.name for thing in self.things})

    def draw_thing(self, random: numpy.random.Generator) -> Thing:
        """One object; kinds are equally likely to the power of one half of their sizes."""
        kinds = sorted(self.by_kind)
        weights = numpy.sqrt([len(self.by_kind[kind]) for kind in kinds])
        kind = kinds[random.choice(len(kinds), p=weights / weights.sum())]
        return self.things[random.choice(self.by_kind[kind])]

    def draw_things(self, random: numpy.random.Generator, count: int) -> list[Thing]:
        """Objects of different names, fewer if the pool has fewer names."""
        things: dict[str, Thing] = {}
        while len(things) < min(count, len(self.names)):
            thing = self.draw_thing(random)
            things.setdefault(thing.name, thing)
        return list(things.values())


@dataclass(frozen=True)
class Columns:
    """The columns read of each pool file."""

    objects: tuple[str, ...] = ("image", "name", "caption", "kind", "tags")
    maps: tuple[str, ...] = ("image", "name", "regions")
    words: tuple[str, ...] = ("word",)
    digits: tuple[str, ...] = ("image", "digit")


def _rows(folder: Path, name: str, split: str) -> list[dict]:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise InputError(f"{path}: missing; build the alignment pool first (see its README).")
    columns = ["split", *getattr(Columns(), name)]
    return parquet.read_table(path, columns=columns, filters=[("split", "==", split)]).to_pylist()


def _thing(row: dict) -> Thing:
    picture = visible_part(Image.open(io.BytesIO(row["image"])), LARGEST)
    name = row["name"]
    tags = [tag.replace("-", " ").lower() for tag in row["tags"] or ()]
    tags = tuple(dict.fromkeys(t for t in tags if t != name and len(t) < 20))
    caption = row["caption"] or ""
    return Thing(picture, name, row["kind"] or "", caption, tags, colour_name(picture))


def _map(row: dict) -> Map:
    regions = [
        Region(region["name"], tuple(region["box"]), tuple(region["colour"]))
        for region in row["regions"]
        if region["area"] >= LEAST_AREA and region["compact"] >= LEAST_COMPACT
    ]
    return Map(Image.open(io.BytesIO(row["image"])).convert("RGB"), row["name"], tuple(regions))


def read_pool(folder: Path, split: str) -> Pool:
    """The pool's ``train`` or ``heldout`` share; fonts are shared by both.

    Raises :class:`InputError` if a file is missing or a share is empty.
    """
    things = [_thing(row) for row in _rows(folder, "objects", split)]
    words = [row["word"] for row in _rows(folder, "words", split)]
    digits: list[list] = [[] for _ in range(10)]
    for row in _rows(folder, "digits", split):
        digits[row["digit"]].append(numpy.asarray(Image.open(io.BytesIO(row["image"]))))
    maps = [m for m in map(_map, _rows(folder, "maps", split)) if m.regions]
    fonts = sorted(str(path) for path in (folder / "fonts").iterdir())
    if not (things and words and maps and fonts and all(digits)):
        raise InputError(f"{folder}: the share {split!r} lacks objects, words, maps or digits.")
    return Pool(things, words, fonts, [numpy.stack(d) for d in digits], maps)

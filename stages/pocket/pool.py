"""Read the alignment pool (folder of Parquet files and fonts) into what scenes are drawn from."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy
import pyarrow.parquet as parquet
from PIL import Image

from stages.core.errors import InputError
from stages.pocket.scenes import Map, Pool, Region, Thing, colour_name, visible_part

LARGEST = 112  # pixels a side that objects are kept at
LEAST_AREA, LEAST_COMPACT = 0.02, 0.9  # regions smaller or more scattered are not asked about


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

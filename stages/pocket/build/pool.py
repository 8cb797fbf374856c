"""The alignment pool: what the pocket backbone learns from, disjoint from the stream. Not shipped.

Files: objects.parquet, maps.parquet, words.parquet, digits.parquet, fonts/.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from .maps import Map
from .objects import Thing, fraction
from .texts import Digit, font_files

HELD_OUT = 0.10  # of everything in the pool: to measure the backbone, not to train it
MAP_SIDE = 336


def write_pool(
    folder: Path, things: list[Thing], maps: list[Map], words: dict[str, str],
    digits: list[Digit], work: Path,
) -> None:  # fmt: skip
    """Write the pool's share of everything below `folder` (see POOL columns in each row maker)."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "objects": [_object_row(t) for t in things if t.share == "pool"],
        "maps": [_map_row(m) for m in maps if m.share == "pool" and len(m.regions) > 1],
        "words": [{"word": w, "split": _split(w)} for w, s in words.items() if s == "pool"],
        "digits": [_digit_row(d) for d in digits if d.share == "pool"],
    }
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet", compression="zstd")
    (folder / "fonts").mkdir(exist_ok=True)
    for font in font_files(work):
        shutil.copyfile(font, folder / "fonts" / font.name)


def _split(key: str) -> str:
    return "heldout" if fraction(f"held out {key}") < HELD_OUT else "train"


def _object_row(thing: Thing) -> dict:
    return {
        "object_id": thing.key,
        "split": _split(thing.group),
        "image": _png(thing.image),
        "name": thing.name,
        "caption": thing.caption,
        "kind": thing.kind,
        "tags": [tag for tag in thing.tags if tag],
        "source": thing.source,
        "licence": thing.licence,
        "own_title": thing.own_title,
    }


def _map_row(item: Map) -> dict:
    image = item.image.copy()
    image.thumbnail((MAP_SIDE, MAP_SIDE), Image.Resampling.LANCZOS)
    regions = [
        {"name": r.name, "capital": r.capital, "box": list(r.box), "area": r.area,
         "compact": r.compact, "colour": list(r.colour)}
        for r in item.regions
    ]  # fmt: skip
    return {
        "map_id": item.key,
        "split": _split(item.key),
        "image": _png(image),
        "name": item.name,
        "division": item.division,
        "regions": regions,
    }


def _digit_row(digit: Digit) -> dict:
    return {"image": _png(digit.image), "digit": digit.value, "split": _split(digit.key)}


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

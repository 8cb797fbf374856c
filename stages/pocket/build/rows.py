"""Rows of the stream's Parquet files: one schema for all tasks, written sorted and undated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from . import images
from .knobs import ROWS

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("answer_index", pa.int32()),
        ("knowledge", pa.string()),
        ("box", pa.list_(pa.float64())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("objects", pa.list_(pa.string())),
        ("source", pa.string()),
        ("licence", pa.string()),
    ]
)


def row(picture: Image.Image, objects: list[str], source: str, licence: str, **fields) -> dict:
    """A row without id and split; `objects` are the keys of what is seen, for the split's sake."""
    image = {"bytes": images.webp(picture), "path": None}
    size = {"width": picture.width, "height": picture.height}
    return {
        "image": image,
        **size,
        "objects": objects,
        "source": source,
        "licence": licence,
        **fields,
    }


def choice(rng: Random, right: str, wrong: list[str]) -> dict:
    """Options in random order, so that every place is equally often right."""
    options = [*wrong, right]
    rng.shuffle(options)
    return {"choices": options, "answer_index": options.index(right), "answers": [right]}


def generate(task: str, make: Callable[[str, int, Random], dict]) -> Iterator[dict]:
    """All rows of a task; `make(split, number, rng)` draws one, `rng` seeded by its name."""
    for split in sorted(ROWS):
        for number in range(ROWS[split]):
            name = f"{task}-{split}-{number:04d}"
            yield {"id": name, "split": split, **make(split, number, Random(name))}


def write(path: Path, rows: Iterator[dict]) -> None:
    """Write one task's file, sorted by split and id."""
    ordered = sorted(rows, key=lambda r: (r["split"], r["id"]))
    table = pa.Table.from_pylist(ordered, schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", row_group_size=120)

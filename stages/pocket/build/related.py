"""Two tasks on the pictures of two others: what colour the page is, behind a drawing or a number.

With `clipart_kind` and `numbers_ocr` they are the stream `related`: the same pictures with another
question, and the same question over other pictures. Their rows are those of the other task's
Parquet file, asked anew; the answer is the colour of the picture's corner, where no thing is put.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from . import rows
from .draw import PAGES

PICTURES = {"clipart_page": "clipart_kind", "numbers_page": "numbers_ocr"}
QUESTION = "What colour is the page?"


def page_colour(picture: bytes) -> str:
    """The named page colour that is nearest to the picture's first pixel."""
    with Image.open(io.BytesIO(picture)) as image:
        corner = image.convert("RGB").getpixel((0, 0))
    return min(
        PAGES,
        key=lambda name: sum((a - b) ** 2 for a, b in zip(PAGES[name], corner, strict=True)),
    )


def asked_anew(task: str, shown: Path) -> Iterator[dict]:
    """The rows of `task`, from the file of the task whose pictures it shows."""
    for row in pq.read_table(shown).to_pylist():
        yield row | {
            "id": row["id"].replace(PICTURES[task], task),
            "question": QUESTION,
            "answers": [page_colour(row["image"]["bytes"])],
        }


def write_related(data: Path) -> None:
    """Write `data/{task}.parquet` of both tasks beside the files that they are made from."""
    for task, pictures in PICTURES.items():
        rows.write(data / f"{task}.parquet", asked_anew(task, data / f"{pictures}.parquet"))

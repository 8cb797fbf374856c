"""The nine tasks of the stream in order, then two on pictures of theirs, and their files."""

from __future__ import annotations

from pathlib import Path

from . import related, rows, scenes, things
from .maps import Map
from .objects import Thing
from .sources import share
from .texts import Digit
from .wordnet import WordNet

ORDER = ("stamps_caption", "maps_ground", "signs_ocr", "emoji_choice", "charts_vqa",
         "clipart_kind", "numbers_ocr", "flags_choice", "glosses_choice")  # fmt: skip


def write_tasks(
    out: Path, objects: list[Thing], maps: list[Map], codes: dict[str, str],
    digits: list[Digit], work: Path,
) -> None:  # fmt: skip
    """Write `out/{task}.parquet` for every task, and the related ones."""
    wordnet = WordNet(share(work) / "wordnet")
    makers = {
        "stamps_caption": lambda: things.stamps_caption(objects),
        "maps_ground": lambda: scenes.maps_ground(maps),
        "signs_ocr": lambda: scenes.signs_ocr(codes, work),
        "emoji_choice": lambda: things.emoji_choice(objects),
        "charts_vqa": lambda: scenes.charts_vqa(work),
        "clipart_kind": lambda: things.clipart_kind(objects),
        "numbers_ocr": lambda: scenes.numbers_ocr(digits),
        "flags_choice": lambda: scenes.flags_choice(work),
        "glosses_choice": lambda: things.glosses_choice(objects, wordnet),
    }
    out.mkdir(parents=True, exist_ok=True)
    for task in ORDER:
        rows.write(out / f"{task}.parquet", rows.generate(task, makers[task]()))
    related.write_related(out)

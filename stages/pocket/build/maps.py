"""KGeography's maps: every region has a colour of its own, hence an exact mask and an exact box."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from .objects import share_of
from .sources import share

SHARES = (0.35, 0.48)  # of maps, for the pool and for training; the rest is for testing


@dataclass(frozen=True)
class Region:
    """A named region: the box of its largest connected part, normalised to 0-1, and its colour."""

    name: str
    capital: str | None
    colour: tuple[int, int, int]
    box: tuple[float, float, float, float]
    area: float  # share of the picture that the largest part covers
    compact: float  # share of all its pixels that lie in the largest part


@dataclass(frozen=True)
class Map:
    """One map with its regions, largest first."""

    key: str
    name: str
    division: str
    image: Image.Image = field(repr=False)
    regions: tuple[Region, ...]
    share: str


def read_maps(work: Path) -> list[Map]:
    """All maps sorted by file name; a map's look-alikes (same country) go into the same share."""
    found = []
    for path in sorted((share(work) / "kgeography").glob("*.kgm")):
        root = ElementTree.parse(path).getroot()
        image = Image.open(path.parent / root.findtext("mapFile")).convert("RGB")
        regions = sorted(_regions(root, np.asarray(image)), key=lambda r: (-r.area, r.name))
        name = root.findtext("name", "").strip()
        country = path.stem.split("_")[0]
        found.append(
            Map(
                key=path.stem,
                name=name.split(" (")[0],
                division=(root.findtext("divisionsName") or "Regions").strip(),
                image=image,
                regions=tuple(regions),
                share=share_of(f"maps/{country}", *SHARES),
            )
        )
    return found


def _regions(root: ElementTree.Element, pixels: np.ndarray) -> list[Region]:
    """Divisions that are part of the quiz (not marked `yes` under `ignore`) and visible at all."""
    code = pixels[..., 0].astype(int) << 16 | pixels[..., 1].astype(int) << 8 | pixels[..., 2]
    found = []
    for division in root.iter("division"):
        if (division.findtext("ignore") or "no").strip() == "yes":
            continue  # frontiers, sea, neighbours
        rgb = tuple(int(division.findtext(f"color/{c}")) for c in ("red", "green", "blue"))
        labels, count = ndimage.label(code == (rgb[0] << 16 | rgb[1] << 8 | rgb[2]))
        if not count:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        rows, columns = ndimage.find_objects(labels)[int(sizes.argmax())]
        height, width = code.shape
        found.append(
            Region(
                name=division.findtext("name").strip(),
                capital=(division.findtext("capital") or "").strip() or None,
                colour=rgb,
                box=(columns.start / width, rows.start / height,
                     columns.stop / width, rows.stop / height),
                area=float(sizes.max() / code.size),
                compact=float(sizes.max() / sizes.sum()),
            )
        )  # fmt: skip
    return found

"""A pool of a few drawn things, with files as the alignment pool has them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image, ImageDraw

from stages.pocket.pool import read_pool

INKS = {"disc": (255, 0, 255, 255), "bar": (0, 90, 200, 255), "tent": (10, 150, 60, 255)}


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _drawn(name: str) -> Image.Image:
    """A shape in the middle of a transparent 60 x 60 picture."""
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    if name == "disc":
        draw.ellipse((20, 15, 49, 44), fill=INKS[name])
    elif name == "bar":
        draw.rectangle((5, 25, 54, 34), fill=INKS[name])
    else:
        draw.polygon([(30, 5), (5, 54), (54, 54)], fill=INKS[name])
    return image


def _map() -> tuple[Image.Image, list[dict]]:
    """A map of two regions: red left half but for a border, blue rectangle at the right."""
    image = Image.new("RGB", (200, 100), (240, 240, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, 89, 89), fill=(250, 60, 50))
    draw.rectangle((120, 40, 179, 79), fill=(40, 70, 230))
    regions = [
        {"name": "Westland", "box": [0.05, 0.1, 0.45, 0.9], "area": 0.32, "colour": [250, 60, 50]},
        {"name": "Eastland", "box": [0.6, 0.4, 0.9, 0.8], "area": 0.12, "colour": [40, 70, 230]},
        {"name": "Speckle", "box": [0.0, 0.0, 1.0, 1.0], "area": 0.005, "colour": [1, 2, 3]},
    ]
    return image, [region | {"capital": None, "compact": 1.0} for region in regions]


@pytest.fixture(scope="session")
def pool_folder(tmp_path_factory, dejavu):
    """Three objects, one map, some words and digits, in both shares."""
    folder = tmp_path_factory.mktemp("pool")
    (folder / "fonts").mkdir()
    (folder / "fonts" / "font.ttf").write_bytes(dejavu.read_bytes())
    picture, regions = _map()
    digit = Image.fromarray(np.pad(np.full((16, 8), 255, np.uint8), ((6, 6), (10, 10))))
    kinds = {"disc": "symbol", "bar": "tool", "tent": "building"}
    objects, maps, words, digits = [], [], [], []
    for split in ("train", "heldout"):
        for name, kind in kinds.items():
            row = {"image": _png(_drawn(name)), "name": name, "caption": f"A {name}."}
            objects.append(row | {"split": split, "kind": kind, "tags": ["shape", name]})
        maps.append({"image": _png(picture), "name": "Land", "split": split, "regions": regions})
        for word in ("Ardon", "Belm", "Cork", "Dover", "Ely", "Fern", "Bath", "Oslo"):
            words.append({"word": word, "split": split})
        for value in range(10):
            digits.append({"image": _png(digit), "digit": value, "split": split})
    tables = {"objects": objects, "maps": maps, "words": words, "digits": digits}
    for name, rows in tables.items():
        parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="session")
def dejavu():
    """The file of a TrueType font that comes with matplotlib."""
    from pathlib import Path

    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@pytest.fixture(scope="session")
def pool(pool_folder):
    """The pool's training share."""
    return read_pool(pool_folder, "train")

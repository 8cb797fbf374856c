"""Pictures: reading with a size cap, trimming, near-duplicate signatures, drawing, WebP bytes."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MAX_PIXELS = 20_000_000  # a few clipart files decode to gigabytes
OBJECT_SIDE = 160


def read_rgba(path: Path) -> Image.Image | None:
    """The picture as RGBA, or None if its header announces more than `MAX_PIXELS`."""
    try:
        with Image.open(path) as image:
            return image.convert("RGBA") if image.width * image.height <= MAX_PIXELS else None
    except Image.DecompressionBombError:  # Pillow's own, larger cap, raised from the header
        return None


def render_svg(path: Path, packages: Path, side: int = 2 * OBJECT_SIDE) -> Image.Image | None:
    """An SVG drawn `side` pixels wide, None if it states no usable size of its own (16 stamps).

    `packages` is where the recipe's own Python packages lie.
    """
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    import resvg_py

    try:
        png = resvg_py.svg_to_bytes(svg_path=str(path), width=side)
    except ValueError as error:
        if "invalid size" in str(error):
            return None
        raise
    return Image.open(io.BytesIO(bytes(png)))


def cut_out(image: Image.Image, side: int = OBJECT_SIDE) -> Image.Image | None:
    """Trim to the visible pixels and shrink the longest side to `side`; None if nothing is left."""
    image = image.convert("RGBA")
    box = image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox()
    if box is None:
        return None
    image = image.crop(box)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def presentable(image: Image.Image, smallest: int = 32) -> bool:
    """False for slivers, specks, and what would vanish on a white page."""
    width, height = image.size
    if max(width, height) < smallest or max(width, height) > 5 * min(width, height):
        return False
    page = np.asarray(over(image, "white").convert("L"), dtype=float)
    return page.mean() < 250 and page.std() > 8


def over(image: Image.Image, colour: str | tuple[int, int, int]) -> Image.Image:
    """The cut-out composited on a plain page of its own size, RGB."""
    page = Image.new("RGBA", image.size, colour)
    return Image.alpha_composite(page, image).convert("RGB")


def signature(image: Image.Image, side: int = 12) -> np.ndarray:
    """Colours of a coarse thumbnail plus the aspect ratio, (3 * side**2 + 1,), for duplicates."""
    thumb = over(image, "white").resize((side, side), Image.Resampling.BOX)
    pixels = np.asarray(thumb, dtype=np.float32).ravel() / 255
    return np.append(pixels, np.float32(np.log(image.width / image.height)))


def webp(image: Image.Image, quality: int = 85) -> bytes:
    """Encoded bytes; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()

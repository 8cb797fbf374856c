"""Pages, objects on pages, and text: what the task pictures are composed with.

All chance comes from a `random.Random` handed in, seeded by the row's own name.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFont

Box = tuple[int, int, int, int]

# Names that captions and questions may use, with the colour that is painted.
COLOURS = {
    "red": (220, 50, 47), "orange": (245, 145, 30), "yellow": (245, 215, 50),
    "green": (70, 160, 70), "blue": (50, 100, 215), "purple": (135, 70, 175),
    "pink": (240, 140, 185), "brown": (130, 85, 50), "black": (30, 30, 30),
    "gray": (140, 140, 140),
}  # fmt: skip
PAGES = {
    "white": (255, 255, 255), "yellow": (250, 235, 130), "green": (175, 225, 165),
    "blue": (165, 205, 245), "pink": (250, 195, 215), "gray": (205, 205, 205),
}  # fmt: skip


def page(rng: Random, width: int, height: int | None = None) -> tuple[Image.Image, str]:
    """A plain page in a named light colour."""
    name = rng.choice(sorted(PAGES))
    return Image.new("RGB", (width, height or width), PAGES[name]), name


def put(canvas: Image.Image, thing: Image.Image, box: Box, rng: Random, fill: float = 0.8) -> None:
    """Paste a cut-out into a box: mirrored at times, turned a little, `fill`..1 of the box."""
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, expand=True)
    room = (box[2] - box[0], box[3] - box[1])
    scale = rng.uniform(fill, 1) * min(room[0] / thing.width, room[1] / thing.height)
    size = (max(1, round(thing.width * scale)), max(1, round(thing.height * scale)))
    thing = thing.resize(size, Image.Resampling.LANCZOS)
    x = box[0] + rng.randint(0, room[0] - size[0])
    y = box[1] + rng.randint(0, room[1] - size[1])
    canvas.paste(thing, (x, y), thing)


def show(thing: Image.Image, side: int, rng: Random) -> Image.Image:
    """One cut-out on a plain page."""
    canvas, _ = page(rng, side)
    put(canvas, thing, (3, 3, side - 3, side - 3), rng)
    return canvas


def fitted(font: Path, text: str, width: int, height: int) -> ImageFont.FreeTypeFont:
    """The face at the largest size at which the text fits."""
    for size in range(height * 2, 5, -1):
        face = ImageFont.truetype(str(font), size)
        left, top, right, bottom = face.getbbox(text)
        if right - left <= width and bottom - top <= height:
            return face
    raise ValueError(f"{text!r} does not fit {width} x {height} pixels")


def write(canvas: Image.Image, text: str, box: Box, font: Path, ink: tuple[int, int, int]) -> None:
    """Text as large as the box allows, in its middle."""
    face = fitted(font, text, box[2] - box[0], box[3] - box[1])
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    left, top, right, bottom = face.getbbox(text)
    corner = (middle[0] - (left + right) / 2, middle[1] - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, text, font=face, fill=ink)


def photographed(
    image: Image.Image, side: int, rng: Random, turn: float, tilt: float
) -> Image.Image:
    """The picture as if seen askew on a page: turned, in perspective, lighter or darker."""
    canvas, _ = page(rng, side)
    canvas = canvas.convert("RGBA")
    width, height = image.size
    moved = [rng.uniform(0, tilt) for _ in range(8)]
    corners = (
        -moved[0] * width, -moved[1] * height, -moved[2] * width, (1 + moved[3]) * height,
        (1 + moved[4]) * width, (1 + moved[5]) * height, (1 + moved[6]) * width, -moved[7] * height,
    )  # fmt: skip
    lit = ImageEnhance.Brightness(image.convert("RGB")).enhance(rng.uniform(0.7, 1.15))
    lit.putalpha(image.getchannel("A"))
    image = lit.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
    image = image.rotate(rng.uniform(-turn, turn), Image.Resampling.BICUBIC, expand=True)
    scale = rng.uniform(0.75, 0.97) * side / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    image = image.resize(size, Image.Resampling.LANCZOS)
    spot = (rng.randint(0, side - size[0]), rng.randint(0, side - size[1]))
    canvas.alpha_composite(image, spot)
    return canvas.convert("RGB")


def nearest_colour(rgb: tuple[int, int, int]) -> str:
    """The name whose hue and lightness are closest; pale and dark shades keep their hue's name."""
    red, green, blue = (value / 255 for value in rgb)
    high, low = max(red, green, blue), min(red, green, blue)
    if high - low < 0.15:
        return "white" if high > 0.9 else "black" if high < 0.25 else "gray"
    if high == red:
        hue = 60 * ((green - blue) / (high - low)) % 360
    elif high == green:
        hue = 60 * ((blue - red) / (high - low)) + 120
    else:
        hue = 60 * ((red - green) / (high - low)) + 240
    if high < 0.65 and 10 <= hue < 48:
        return "brown"
    if hue >= 345 or hue < 14:
        return "pink" if low > 0.45 else "red"
    bounds = ((45, "orange"), (70, "yellow"), (160, "green"), (258, "blue"), (292, "purple"))
    return next((name for bound, name in bounds if hue < bound), "pink")

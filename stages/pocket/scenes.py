"""Composed pictures whose content is known exactly: objects, words, numbers, bar charts, maps.

Everything is drawn from one ``numpy`` generator, so a seed gives the same scene again. Boxes are
(x1, y1, x2, y2) relative to the picture, 0..1, and enclose every pixel an item draws.
"""

import string
from dataclasses import dataclass

import numpy
from PIL import Image, ImageDraw, ImageFont

from stages.pocket.pictures import (
    PALETTE,
    Box,
    draw_background,
    draw_ink,
    fit_font,
    nearest_colour,
    place,
    visible_part,
)
from stages.pocket.pool import Pool, Thing


@dataclass(frozen=True)
class Item:
    """One thing in a picture; what is unknown or makes no sense for it is empty."""

    box: Box
    name: str
    kind: str = ""
    caption: str = ""
    tags: tuple[str, ...] = ()
    colour: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A picture (PIL, RGB, square) and what is in it; ``family`` is how it was made."""

    image: Image.Image
    family: str
    items: tuple[Item, ...]
    background: str = ""
    text: str = ""


SHORT = 6  # letters of a short word
CODES = 0.5  # of the words are one or two capitals (the stream's signs have three)
SIDES = {1: (0.45, 1.0), 2: (0.35, 0.65), 3: (0.28, 0.5), 4: (0.25, 0.42)}  # of the longer side


def object_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """One to four objects of different names, drawn from a pool."""
    wanted = int(random.choice([1, 2, 3, 4], p=[0.4, 0.25, 0.25, 0.1]))
    return compose(random, pool.draw_things(random, wanted), size)


def compose(random: numpy.random.Generator, things: list[Thing], size: int) -> Scene:
    """The given objects on a background, as many as find room without much overlap."""
    image, background = draw_background(random, size)
    pictures = [_vary(random, thing, size, SIDES[len(things)]) for thing in things]
    boxes = place(random, [picture.size for picture in pictures], size)
    items = []
    for thing, picture, box in zip(things, pictures, boxes, strict=False):
        image.paste(picture, box[:2], picture)
        relative = tuple(v / size for v in box)
        labels = (thing.name, thing.kind, thing.caption, thing.tags, thing.colour)
        items.append(Item(relative, *labels))
    return Scene(image, "objects", tuple(items), background)


def _vary(
    random: numpy.random.Generator, thing: Thing, size: int, sides: tuple[float, float]
) -> Image.Image:
    """The object's picture, perhaps mirrored, stretched a little and scaled."""
    picture = thing.picture
    if thing.kind not in ("", "symbol") and random.random() < 0.5:  # symbols have a direction
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = size * random.uniform(*sides)
    stretch = random.uniform(0.85, 1.18)
    scale = side / max(picture.width * stretch, picture.height)
    shape = (picture.width * stretch * scale, picture.height * scale)
    shape = tuple(min(max(round(v), 4), size) for v in shape)
    return picture.resize(shape, Image.Resampling.BICUBIC)


def text_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """One or two rendered words in one font and colour each."""
    image, background = draw_background(random, size)
    count = 2 if random.random() < 0.3 else 1
    words = [_word(random, pool) for _ in range(count)]
    if random.random() < 0.25:
        words = [word.upper() for word in words]
    colour, ink = draw_ink(random, image)
    if random.random() < 0.3:  # a sign: a panel behind the words
        panel, inset = Image.new("RGB", (size, size), ink), int(random.integers(2, 8))
        image.paste(panel.crop((0, 0, size - 2 * inset, size - 2 * inset)), (inset, inset))
        background = colour
        colour, ink = draw_ink(random, panel)
    font_path = pool.fonts[random.integers(len(pool.fonts))]
    pictures = []
    for word in words:
        least = 0.3 * len(word) if len(word) < 3 else 0.6 if len(word) < 6 else 0.85
        width = size * random.uniform(least, 0.98)
        font = fit_font(font_path, word, width, size * random.uniform(0.2, 0.5))
        pictures.append(_word_picture(word, font, ink, size))
    items = []
    for word, picture, box in zip(
        words, pictures, place(random, [p.size for p in pictures], size), strict=False
    ):
        image.paste(picture, box[:2], picture)
        items.append(Item(tuple(v / size for v in box), word, "text", colour=colour))
    items.sort(key=lambda item: item.box[1])
    return Scene(image, "text", tuple(items), background, " ".join(i.name for i in items))


def _word(random: numpy.random.Generator, pool: Pool) -> str:
    """One or two capitals, or a word of the pool, mostly a short one: letters are learnt from
    large ones."""
    if random.random() < CODES:
        return "".join(random.choice(list(string.ascii_uppercase), random.integers(1, 3)))
    words = pool.words
    if random.random() < 0.5:
        words = [word for word in words if len(word) <= SHORT] or words
    return words[random.integers(len(words))]


def _word_picture(word: str, font: ImageFont.FreeTypeFont, ink: tuple, size: int) -> Image.Image:
    left, top, right, bottom = font.getbbox(word)
    picture = Image.new("RGBA", (right - left + 2, bottom - top + 2), (*ink, 0))
    ImageDraw.Draw(picture).text((1 - left, 1 - top), word, font=font, fill=(*ink, 255))
    return visible_part(picture, size)


def number_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """A number of one to five handwritten digits in a row, dark on light or the reverse."""
    count = int(random.choice([1, 2, 3, 4, 5], p=[0.15, 0.15, 0.25, 0.25, 0.2]))
    text = "".join(str(random.integers(10)) for _ in range(count))
    crops = [pool.digits[int(d)][random.integers(len(pool.digits[int(d)]))] for d in text]
    strip = numpy.concatenate(crops, axis=1)  # (28, 28 n)
    width = int(size * (random.uniform(0.75, 1.0) if count > 2 else 0.3 * count))
    height = min(round(28 * width / strip.shape[1] * random.uniform(0.9, 1.4)), size)
    mask = Image.fromarray(strip).resize((width, height), Image.Resampling.BICUBIC)
    dark = random.random() < 0.5
    image = Image.new("RGB", (size, size), "white" if dark else "black")
    x, y = (int(random.integers(0, size - side + 1)) for side in (width, height))
    image.paste(Image.new("RGB", mask.size, "black" if dark else "white"), (x, y), mask)
    box = (x / size, y / size, (x + width) / size, (y + height) / size)
    edges = [(x + i * width / count) / size for i in range(count + 1)]
    items = [
        Item((edges[i], box[1], edges[i + 1], box[3]), digit, "digit")
        for i, digit in enumerate(text)
    ]
    return Scene(image, "numbers", tuple(items), "white" if dark else "black", text)


def chart_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """A bar chart of two to five bars of clearly different lengths, standing, or lying beside or
    below their names, in one colour or one each."""
    count = int(random.integers(2, 6))
    layout = random.choice(["standing", "beside", "below"])
    lying = layout != "standing"
    short = [word for word in pool.words if len(word) <= (9 if lying else 4)]
    names = [short[i] for i in random.choice(len(short), count, replace=False)]
    values = (random.permutation(count) + random.uniform(0.5, 0.9)) / count
    colours = [str(c) for c in random.permutation(list(PALETTE)[:9])[:count]]
    if random.random() < 0.3:
        colours = colours[:1] * count
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(pool.fonts[random.integers(len(pool.fonts))], 12)
    step, margin = size / count, size * {"standing": 0.14, "beside": 0.48, "below": 0.02}[layout]
    items = []
    for i, (name, value, colour) in enumerate(zip(names, values, colours, strict=True)):
        length, start = value * (size - margin), i * step
        if layout == "below":
            bar = (margin, start + min(14, step / 2), margin + length, start + 0.95 * step)
            draw.text((margin, start), name, fill="black", font=font, anchor="la")
        elif lying:
            bar = (margin, start + 0.2 * step, margin + length, start + 0.85 * step)
            draw.text((1, start + step / 2), name, fill="black", font=font, anchor="lm")
        else:
            bar = (start + 0.2 * step, size - margin - length, start + 0.8 * step, size - margin)
            draw.text((start + step / 2, size - 1), name, fill="black", font=font, anchor="ms")
        draw.rectangle(bar, fill=PALETTE[colour])
        box = tuple(min(max(v / size, 0.0), 1.0) for v in bar)
        items.append(Item(box, name, "bar", colour=colour, value=float(value)))
    return Scene(image, "charts", tuple(items), "white")


def map_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """A cut-out of a map that holds at least one whole region."""
    chosen = pool.maps[random.integers(len(pool.maps))]
    region = chosen.regions[random.integers(len(chosen.regions))]
    low = [random.uniform(0, region.box[i]) for i in (0, 1)]
    high = [random.uniform(region.box[i], 1) for i in (2, 3)]
    if random.random() < 0.4:
        low, high = [0.0, 0.0], [1.0, 1.0]
    sides = [high[i] - low[i] for i in (0, 1)]
    width, height = chosen.picture.size
    pixels = (low[0] * width, low[1] * height, high[0] * width, high[1] * height)
    image = chosen.picture.resize((size, size), Image.Resampling.BICUBIC, box=pixels)
    items = []
    for other in chosen.regions:
        box = tuple((v - low[i % 2]) / sides[i % 2] for i, v in enumerate(other.box))
        if min(box) >= 0 and max(box) <= 1 and (box[2] - box[0]) * (box[3] - box[1]) > 0.02:
            items.append(Item(box, other.name, "region", colour=nearest_colour(other.colour)))
    return Scene(image, "maps", tuple(items), text=chosen.name)


MAKERS = {
    "objects": object_scene,
    "text": text_scene,
    "numbers": number_scene,
    "charts": chart_scene,
    "maps": map_scene,
}
SHARES = {"objects": 0.46, "text": 0.18, "numbers": 0.08, "charts": 0.12, "maps": 0.16}


def make_scene(pool: Pool, size: int, seed: int) -> Scene:
    """The scene number ``seed`` of a pool: a family by its share, then its content."""
    random = numpy.random.default_rng([seed, 0])
    families = list(SHARES)
    family = families[random.choice(len(families), p=list(SHARES.values()))]
    return MAKERS[family](random, pool, size)

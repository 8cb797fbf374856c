"""Composed pictures whose content is known exactly: objects, words, numbers and bar charts.

Everything is drawn from one ``numpy`` generator, so a seed gives the same scene again. Boxes are
(x1, y1, x2, y2) relative to the picture, 0..1, and enclose every pixel an item draws.
"""

from dataclasses import dataclass, field, replace

import numpy
from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]

PALETTE = {
    "red": (220, 40, 40),
    "orange": (245, 145, 30),
    "yellow": (250, 225, 60),
    "green": (60, 160, 70),
    "blue": (50, 90, 210),
    "purple": (140, 60, 170),
    "pink": (245, 150, 190),
    "brown": (130, 85, 50),
    "black": (20, 20, 20),
    "gray": (135, 135, 135),
    "white": (255, 255, 255),
}
LEAST_ALPHA = 24  # of 255: fainter pixels do not count as part of an object


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


@dataclass(frozen=True)
class Thing:
    """A pool object: RGBA picture cropped to its visible part, and its labels."""

    picture: Image.Image
    name: str
    kind: str
    caption: str = ""
    tags: tuple[str, ...] = ()
    colour: str = ""


@dataclass(frozen=True)
class Region:
    """A region of a map: name, relative box, fill colour (RGB, 0..255)."""

    name: str
    box: Box
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Map:
    """A political map (PIL, RGB) and its larger regions."""

    picture: Image.Image
    name: str
    regions: tuple[Region, ...]


@dataclass
class Pool:
    """What scenes are made of: objects, words, fonts (files), digits (28 x 28, 0..255), maps.

    ``digits[d]`` is a uint8 array (n, 28, 28) of handwritten examples of the digit ``d``.
    """

    things: list[Thing]
    words: list[str]
    fonts: list[str]
    digits: list[numpy.ndarray]
    maps: list[Map]
    by_kind: dict[str, list[int]] = field(init=False)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_kind = {}
        for index, thing in enumerate(self.things):
            self.by_kind.setdefault(thing.kind, []).append(index)
        self.names = sorted({thing.name for thing in self.things})

    def draw_thing(self, random: numpy.random.Generator) -> Thing:
        """One object; kinds are equally likely to the power of one half of their sizes."""
        kinds = sorted(self.by_kind)
        weights = numpy.sqrt([len(self.by_kind[kind]) for kind in kinds])
        kind = kinds[random.choice(len(kinds), p=weights / weights.sum())]
        return self.things[random.choice(self.by_kind[kind])]


def visible_part(picture: Image.Image, largest: int) -> Image.Image:
    """The RGBA picture cropped to its visible pixels and reduced to ``largest`` pixels a side."""
    picture = picture.convert("RGBA")
    mask = picture.getchannel("A").point(lambda a: 255 if a >= LEAST_ALPHA else 0)
    picture = picture.crop(mask.getbbox() or (0, 0, *picture.size))
    scale = largest / max(picture.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture


def colour_name(picture: Image.Image, share: float = 0.5) -> str:
    """The palette colour that at least ``share`` of the visible pixels are nearest to, or ''."""
    pixels = numpy.asarray(picture.resize((24, 24)), dtype=numpy.float32).reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > 128, :3]
    if len(pixels) < 40:
        return ""
    palette = numpy.array(list(PALETTE.values()), dtype=numpy.float32)
    nearest = ((pixels[:, None] - palette) ** 2).sum(-1).argmin(1)
    counts = numpy.bincount(nearest, minlength=len(palette))
    best = int(counts.argmax())
    return list(PALETTE)[best] if counts[best] >= share * len(pixels) else ""


def draw_background(random: numpy.random.Generator, size: int) -> tuple[Image.Image, str]:
    """A plain (named colour), white, graded or noisy background; '' where no name fits."""
    choice = random.random()
    if choice < 0.45:
        return Image.new("RGB", (size, size), "white"), "white"
    if choice < 0.75:
        name = list(PALETTE)[random.integers(len(PALETTE))]
        shade = numpy.clip(numpy.array(PALETTE[name]) + random.integers(-12, 13, 3), 0, 255)
        return Image.new("RGB", (size, size), tuple(int(v) for v in shade)), name
    corners = random.integers(90, 256, (2, 2, 3)).astype(numpy.uint8)
    if choice < 0.9:
        image = Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)
        return image, ""
    noise = random.integers(150, 256, (size // 8, size // 8, 3)).astype(numpy.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC), ""


def _overlap(a: Box, b: Box) -> float:
    """Area of the intersection over the smaller area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0) * max(height, 0) / smaller if width > 0 and height > 0 else 0.0


def place(
    random: numpy.random.Generator, sizes: list[tuple[int, int]], canvas: int, attempts: int = 40
) -> list[tuple[int, int, int, int]]:
    """Pixel boxes for rectangles of the given sizes, barely overlapping; may leave some out."""
    boxes: list[tuple[int, int, int, int]] = []
    for width, height in sizes:
        for _ in range(attempts):
            x = int(random.integers(0, canvas - width + 1))
            y = int(random.integers(0, canvas - height + 1))
            box = (x, y, x + width, y + height)
            if all(_overlap(box, other) < 0.08 for other in boxes):
                boxes.append(box)
                break
        else:
            break
    return boxes


def object_scene(
    random: numpy.random.Generator, pool: Pool, size: int, count: int | None = None
) -> Scene:
    """One to four objects of different names on a background."""
    image, background = draw_background(random, size)
    wanted = count or int(random.choice([1, 2, 3, 4], p=[0.4, 0.25, 0.25, 0.1]))
    things: dict[str, Thing] = {}
    while len(things) < wanted:
        thing = pool.draw_thing(random)
        things.setdefault(thing.name, thing)
    low, high = {1: (0.45, 1.0), 2: (0.35, 0.65), 3: (0.28, 0.5)}.get(wanted, (0.25, 0.42))
    pictures = []
    for thing in things.values():
        picture = thing.picture
        if thing.kind not in ("", "symbol") and random.random() < 0.5:  # symbols have a direction
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        side = size * random.uniform(low, high)
        stretch = random.uniform(0.85, 1.18)
        scale = side / max(picture.width * stretch, picture.height)
        shape = (picture.width * stretch * scale, picture.height * scale)
        shape = tuple(min(max(round(v), 4), size) for v in shape)
        pictures.append(picture.resize(shape, Image.Resampling.BICUBIC))
    items = []
    boxes = place(random, [picture.size for picture in pictures], size)
    for thing, picture, box in zip(things.values(), pictures, boxes, strict=False):
        image.paste(picture, box[:2], picture)
        relative = tuple(v / size for v in box)
        items.append(
            Item(relative, thing.name, thing.kind, thing.caption, thing.tags, thing.colour)
        )
    return Scene(image, "objects", tuple(items), background)


def _ink(random: numpy.random.Generator, background: Image.Image) -> tuple[str, tuple]:
    """A palette colour that can be read on the background's mean colour."""
    mean = numpy.asarray(background.resize((1, 1)), dtype=float).reshape(3)
    names = [
        name
        for name, value in PALETTE.items()
        if abs(numpy.dot(numpy.array(value) - mean, (0.3, 0.59, 0.11))) > 70
    ]
    name = names[random.integers(len(names))] if names else "black"
    return name, PALETTE[name]


def _fit_font(path: str, text: str, width: float, height: float) -> ImageFont.FreeTypeFont:
    """The font at the largest size whose text is at most ``width`` x ``height`` pixels."""
    probe = ImageFont.truetype(path, 40)
    left, top, right, bottom = probe.getbbox(text)
    scale = min(width / max(right - left, 1), height / max(bottom - top, 1))
    return ImageFont.truetype(path, max(7, int(40 * scale)))


def text_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """One or two rendered words in one font and colour each."""
    image, background = draw_background(random, size)
    count = 2 if random.random() < 0.3 else 1
    words = [pool.words[random.integers(len(pool.words))] for _ in range(count)]
    if random.random() < 0.25:
        words = [word.upper() for word in words]
    colour, ink = _ink(random, image)
    if random.random() < 0.3:  # a sign: a panel behind the words
        panel, inset = Image.new("RGB", (size, size), ink), int(random.integers(2, 8))
        image.paste(panel.crop((0, 0, size - 2 * inset, size - 2 * inset)), (inset, inset))
        background = colour
        colour, ink = _ink(random, panel)
    font_path = pool.fonts[random.integers(len(pool.fonts))]
    pictures = []
    for word in words:
        width = size * random.uniform(0.6 if len(word) < 6 else 0.85, 0.98)
        font = _fit_font(font_path, word, width, size * random.uniform(0.2, 0.4))
        pictures.append(_word_picture(word, font, ink, size))
    items = []
    for word, picture, box in zip(
        words, pictures, place(random, [p.size for p in pictures], size), strict=False
    ):
        image.paste(picture, box[:2], picture)
        items.append(Item(tuple(v / size for v in box), word, "text", colour=colour))
    items.sort(key=lambda item: item.box[1])
    return Scene(image, "text", tuple(items), background, " ".join(i.name for i in items))


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
    width = int(size * random.uniform(0.75, 1.0)) if count > 2 else 34 * count
    height = min(round(28 * width / strip.shape[1] * random.uniform(0.9, 1.4)), size)
    mask = Image.fromarray(strip).resize((width, height), Image.Resampling.BICUBIC)
    dark = random.random() < 0.5
    image = Image.new("RGB", (size, size), "white" if dark else "black")
    x, y = (int(random.integers(0, size - side + 1)) for side in (width, height))
    image.paste(Image.new("RGB", mask.size, "black" if dark else "white"), (x, y), mask)
    box = (x / size, y / size, (x + width) / size, (y + height) / size)
    items = [
        replace(
            Item(box, digit, "digit"),
            box=(
                (x + i * width / count) / size,
                box[1],
                (x + (i + 1) * width / count) / size,
                box[3],
            ),
        )
        for i, digit in enumerate(text)
    ]
    return Scene(image, "numbers", tuple(items), "white" if dark else "black", text)


def chart_scene(random: numpy.random.Generator, pool: Pool, size: int) -> Scene:
    """A bar chart of three to five bars, lying or standing, with clearly different lengths."""
    count = int(random.integers(3, 6))
    lying = random.random() < 0.7
    short = [word for word in pool.words if len(word) <= (9 if lying else 4)]
    names = [short[i] for i in random.choice(len(short), count, replace=False)]
    values = (random.permutation(count) + random.uniform(0.5, 0.9)) / count
    one = PALETTE[list(PALETTE)[random.integers(0, 9)]]
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(pool.fonts[random.integers(len(pool.fonts))], 12)
    step, margin = size / count, size * (0.48 if lying else 0.14)
    items = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        length, start = value * (size - margin), i * step
        if lying:
            bar = (margin, start + 0.2 * step, margin + length, start + 0.85 * step)
            draw.text((1, start + step / 2), name, fill="black", font=font, anchor="lm")
        else:
            bar = (start + 0.2 * step, size - margin - length, start + 0.8 * step, size - margin)
            draw.text((start + step / 2, size - 1), name, fill="black", font=font, anchor="ms")
        draw.rectangle(bar, fill=one)
        box = tuple(min(max(v / size, 0.0), 1.0) for v in bar)
        items.append(Item(box, name, "bar", value=float(value)))
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


def nearest_colour(colour: tuple[int, int, int]) -> str:
    """The palette colour nearest in hue for a vivid colour, in RGB for a dull one."""
    high, low = max(colour), min(colour)
    names = [n for n in PALETTE if n not in ("black", "gray", "white", "brown")]
    if high - low < 40:
        names = ["black", "gray", "white"]
        return min(names, key=lambda n: abs(PALETTE[n][0] - sum(colour) / 3))
    scaled = [255 * (v - low) / (high - low) for v in colour]

    def distance(name: str) -> float:
        other = PALETTE[name]
        least, most = min(other), max(other)
        return sum((255 * (v - least) / (most - least) - s) ** 2 for v, s in zip(other, scaled))

    return min(names, key=distance)


MAKERS = {
    "objects": object_scene,
    "text": text_scene,
    "numbers": number_scene,
    "charts": chart_scene,
    "maps": map_scene,
}
SHARES = {"objects": 0.62, "text": 0.17, "numbers": 0.09, "charts": 0.05, "maps": 0.07}


def make_scene(pool: Pool, size: int, seed: int) -> Scene:
    """The scene number ``seed`` of a pool: a family by its share, then its content."""
    random = numpy.random.default_rng([seed, 0])
    families = list(SHARES)
    family = families[random.choice(len(families), p=list(SHARES.values()))]
    return MAKERS[family](random, pool, size)

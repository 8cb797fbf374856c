"""Drawing primitives of composed scenes: colours, backgrounds, placement, fonts."""

import numpy
from PIL import Image, ImageFont

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
        return sum(
            (255 * (v - least) / (most - least) - s) ** 2
            for v, s in zip(other, scaled, strict=True)
        )

    return min(names, key=distance)


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


def draw_ink(random: numpy.random.Generator, background: Image.Image) -> tuple[str, tuple]:
    """A palette colour that can be read on the background's mean colour."""
    mean = numpy.asarray(background.resize((1, 1)), dtype=float).reshape(3)
    names = [
        name
        for name, value in PALETTE.items()
        if abs(numpy.dot(numpy.array(value) - mean, (0.3, 0.59, 0.11))) > 70
    ]
    name = names[random.integers(len(names))] if names else "black"
    return name, PALETTE[name]


def fit_font(path: str, text: str, width: float, height: float) -> ImageFont.FreeTypeFont:
    """The font at the largest size whose text is at most ``width`` x ``height`` pixels."""
    probe = ImageFont.truetype(path, 40)
    left, top, right, bottom = probe.getbbox(text)
    scale = min(width / max(right - left, 1), height / max(bottom - top, 1))
    return ImageFont.truetype(path, max(7, int(40 * scale)))

"""Boxes: how files write them, and the one way in which they are kept and answered.

Kept are x1, y1, x2, y2 as shares of width and height. A text writes them in thousandths.
"""

import math

from stages.core.data.faults import RowError

GRID = 1000  # boxes in texts count thousandths of the image's width and height
OVERRUN = 1.0  # pixels that a box may exceed its image by, from rounding; then it is cut off
ROUNDING = 1e-6  # the same for shares and thousandths, and for sums of floating-point numbers
EXTENTS = {"relative": (1, 1), "grid1000": (GRID, GRID)}  # an image's width and height; or pixels
EXPECTED = {
    "pixels": "pixels; for shares the manifest says 'box: {format: relative}'",
    "grid1000": "numbers of 0 to 1000",
}

Box = tuple[float, ...]
Size = tuple[int, int]  # width and height in pixels


def corners(box: Box, order: str) -> Box:
    """x1, y1, x2, y2 of a box in the ``order`` xyxy or xywh (corner, width and height)."""
    x, y, *others = box
    return (x, y, x + others[0], y + others[1]) if order == "xywh" else box


def relative_box(box: Box, size: Size, unit: str = "pixels") -> Box:
    """x1, y1, x2, y2 as shares of width and height, cut off at the image's edge.

    ``unit`` is what the box counts in: pixels of an image of ``size``, "relative" or "grid1000".
    Raises :class:`RowError` for a box outside the image, below one pixel, or in another unit.
    """
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, box)):
        raise _bad(box, "holds a number that is none (NaN, Infinity)")
    if not (x1 < x2 and y1 < y2):
        hint = "; a corner, width and height are 'box: {order: xywh}' in the manifest"
        raise _bad(box, f"has no area; expected x1 < x2 and y1 < y2{hint}")
    if unit in EXPECTED and min(box) >= 0 and max(box) <= 1:
        raise _bad(box, f"lies within 0..1; expected {EXPECTED[unit]}")
    width, height = EXTENTS.get(unit, size)
    over = OVERRUN if unit == "pixels" else ROUNDING
    if x1 < -over or y1 < -over or x2 > width + over or y2 > height + over:
        raise _bad(box, f"leaves the image of {width} x {height}")
    scaled = (x1 / width, y1 / height, x2 / width, y2 / height)
    inside = tuple(min(1.0, max(0.0, share)) for share in scaled)
    lost = 1 / GRID if unit == "grid1000" else 0.0  # by rounding
    for start, end, side in zip(inside[:2], inside[2:], size, strict=True):
        if end <= start or (end - start + lost) * side < 1 - ROUNDING:
            within = f"within its image of {size[0]} x {size[1]} pixels"
            raise _bad(box, f"is less than a pixel wide or high {within}")
    return inside


def padded_box(text: str, size: Size | None) -> Box:
    """The box of an answer text ``[x1,y1,x2,y2]``, relative to the image of ``size``.

    The text counts shares of the image padded to a square, half on either side, as LLaVA does;
    what lies in the padding is cut off. Raises :class:`RowError` if there is no such box.
    """
    numbers = text.strip().removeprefix("[").removesuffix("]").split(",")
    try:
        box = tuple(float(number) for number in numbers)
    except ValueError:
        box = ()
    if len(box) != 4:
        raise RowError("bad box", f"no box like [x1,y1,x2,y2] in {text[:60]!r}")
    if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise _bad(box, "is none of shares of 0..1 with x1 < x2 and y1 < y2")
    sides = size or (1, 1)
    square = max(sides)
    padding = [(square - side) / 2 for side in sides] * 2
    shares = [(x * square - p) / s for x, p, s in zip(box, padding, sides * 2, strict=True)]
    inside = tuple(min(1.0, max(0.0, share)) for share in shares)
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise _bad(box, f"lies in the padding of its image of {sides[0]} x {sides[1]}")
    return inside


def _bad(box: Box, problem: str) -> RowError:
    return RowError("bad box", f"{list(box)} {problem}")


def check_shape(said: Size, found: Size) -> None:
    """Raises :class:`RowError` unless one size is the other one scaled, give or take a pixel."""
    if abs(said[0] * found[1] - said[1] * found[0]) > max(*said, *found):
        raise RowError(
            "bad size",
            f"the row says {said[0]} x {said[1]}, the image is {found[0]} x {found[1]}: another "
            "shape, so the box is of another image",
        )


def box_text(box: Box) -> str:
    """Write a relative box as the model does: whole numbers on the grid, halves rounded up."""
    numbers = ",".join(str(math.floor(share * GRID + 0.5)) for share in box)
    return f"<box>[[{numbers}]]</box>"


def written_box(text: str, size: Size | None) -> Box:
    """The box of an answer text, relative to the image of ``size``.

    Raises :class:`RowError` if there is none, or one that :func:`relative_box` refuses.
    """
    rest = text.partition("[[")[2]
    numbers = rest.partition("]]")[0].split(",")
    try:
        box = tuple(float(number) for number in numbers)
    except ValueError:
        box = ()
    if len(box) != 4:
        raise RowError("bad box", f"no box like <box>[[x1,y1,x2,y2]]</box> in {text[:60]!r}")
    return relative_box(box, size or (GRID, GRID), "grid1000")

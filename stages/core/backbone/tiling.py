"""Image to tiles: the dynamic-resolution scheme of InternVL, with PIL and numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


MOST_PIXELS = 1 << 24  # of an enlarged part of an image that is held at once, where it can be less


def choose_grid(width: int, height: int, max_tiles: int, tile: int) -> tuple[int, int]:
    """Columns and rows of the grid whose shape is closest to the image's.

    Among grids of 1 to ``max_tiles`` tiles the aspect ratio decides; on a tie the larger grid
    wins if the image's area exceeds half of the grid's (InternVL's dynamic preprocessing).
    """
    grids = sorted(
        {
            (columns, rows)
            for columns in range(1, max_tiles + 1)
            for rows in range(1, max_tiles + 1)
            if columns * rows <= max_tiles
        },
        key=lambda grid: grid[0] * grid[1],
    )
    best, best_gap = (1, 1), float("inf")
    for columns, rows in grids:
        gap = abs(width / height - columns / rows)
        if gap < best_gap:
            best, best_gap = (columns, rows), gap
        elif gap == best_gap and width * height > 0.5 * tile * tile * columns * rows:
            best = (columns, rows)
    return best


def tile_count(width: int, height: int, max_tiles: int, tile: int) -> int:
    """Tiles of an image, the thumbnail included (there is one if the grid has several tiles)."""
    columns, rows = choose_grid(width, height, max_tiles, tile)
    return columns * rows + (columns * rows > 1)


def cut(image: Image, max_tiles: int, tile: int) -> list[Image]:
    """Tiles of ``tile`` x ``tile`` pixels, row by row, the whole image last as thumbnail."""
    from PIL.Image import Resampling

    columns, rows = choose_grid(*image.size, max_tiles, tile)
    sheet = image.resize((columns * tile, rows * tile), Resampling.BICUBIC)
    tiles = squares(sheet, tile)
    if len(tiles) > 1:
        tiles.append(thumbnail(image, tile))
    return tiles


def squares(sheet: Image, side: int) -> list[Image]:
    """An image of whole squares cut up, row by row."""
    return [
        sheet.crop((x, y, x + side, y + side))
        for y in range(0, sheet.height, side)
        for x in range(0, sheet.width, side)
    ]


def thumbnail(image: Image, tile: int) -> Image:
    """The whole image as one tile."""
    from PIL.Image import Resampling

    return image.resize((tile, tile), Resampling.BICUBIC)


def middle(image: Image, side: int) -> Image:
    """The middle square of an image whose shorter side becomes ``side`` pixels.

    The same pixels as from resizing all of the image, which takes gigabytes for a strip.
    """
    from PIL.Image import Resampling

    short = min(image.size)
    width, height = (int(side * length / short) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    if short >= side:  # the whole result is smaller than the image
        whole = image.resize((width, height), Resampling.BICUBIC)
        return whole.crop((left, top, left + side, top + side))
    # Pillow enlarges lines, rounds, and enlarges columns.
    return _enlarged(_enlarged(image, width, left, side), height, top, side)


def _enlarged(image: Image, width: int, left: int, side: int) -> Image:
    """``side`` columns from ``left`` on of an image enlarged to ``width``, as lines."""
    from PIL import Image as Pillow

    found = Pillow.new(image.mode, (side, image.height))
    step = max(1, MOST_PIXELS // width)
    for top in range(0, image.height, step):
        part = image.crop((0, top, image.width, min(image.height, top + step)))
        whole = part.resize((width, part.height), Pillow.Resampling.BICUBIC)
        found.paste(whole.crop((left, 0, left + side, part.height)), (0, top))
    return found.transpose(Pillow.Transpose.TRANSPOSE)


def pixels(tiles: list[Image]) -> np.ndarray:
    """Pixel values of RGB tiles, uint8 ``(tiles, 3, tile, tile)``."""
    stacked = np.stack([np.asarray(tile) for tile in tiles])
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))

"""Tile grids against values worked out by hand (tile 448, at most 6 tiles)."""

import numpy as np
import pytest
from PIL import Image

from stages.core.tiling import choose_grid, cut, pixels, tile_count


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((448, 448), (1, 1)),
        ((640, 480), (3, 2)),  # 1.333: 3/2 is 0.167 away, 1/1 is 0.333 away
        ((896, 448), (2, 1)),
        ((448, 896), (1, 2)),
        ((1344, 448), (3, 1)),
        ((448, 2688), (1, 6)),
        ((900, 600), (3, 2)),
        ((600, 900), (2, 3)),
        ((100, 100), (1, 1)),  # tie 1/1, 2/2: area too small for four tiles
        ((1000, 1000), (2, 2)),  # tie: area exceeds half of four tiles
        ((5000, 448), (6, 1)),
    ],
)
def test_choose_grid(size, grid):
    assert choose_grid(*size, max_tiles=6, tile=448) == grid


def test_thumbnail_is_counted_only_beside_several_tiles():
    assert tile_count(448, 448, 6, 448) == 1
    assert tile_count(896, 448, 6, 448) == 3
    assert tile_count(896, 448, 1, 448) == 1


def test_cut_goes_row_by_row_and_ends_with_the_thumbnail():
    quadrants = np.zeros((56, 56, 3), dtype=np.uint8)
    quadrants[:28, 28:] = 80
    quadrants[28:, :28] = 160
    quadrants[28:, 28:] = 240
    tiles = cut(Image.fromarray(quadrants), max_tiles=4, tile=28)
    centres = [tile.getpixel((14, 14))[0] for tile in tiles[:4]]
    assert centres == [0, 80, 160, 240]
    assert len(tiles) == 5
    assert tiles[4].size == (28, 28)


def test_pixels_are_normalised_channels_first():
    grey = Image.new("RGB", (28, 28), (51, 102, 255))
    values = pixels([grey], [0.2, 0.2, 0.5], [0.1, 0.2, 0.5])
    assert values.shape == (1, 3, 28, 28)
    np.testing.assert_allclose(values[0, :, 3, 5], [0.0, 1.0, 1.0], atol=1e-6)

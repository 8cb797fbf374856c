"""Tile grids against values worked out by hand (tile 448, at most 6 tiles)."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from stages.core.backbone import tiling
from stages.core.backbone.families.base import Family
from stages.core.backbone.families.internvl import InternVL
from stages.core.backbone.tiling import choose_grid, cut, pixels, tile_count

# width, height: columns, rows, tiles with the thumbnail. A tile has 448 x 448 = 200,704 pixels; on
# a tie a grid of n tiles wins over a smaller one if the image has more than n x 100,352 pixels.
TABLE = {
    (448, 448): (1, 1, 1),
    (640, 480): (3, 2, 7),  # 1.333: 3/2 is 0.167 away, 1/1 is 0.333 away
    (480, 640): (2, 3, 7),  # 0.75: 2/3 is 0.083 away, 1/1 is 0.25 away
    (500, 375): (3, 2, 7),  # as 640 x 480: without a tie the area does not matter
    (896, 448): (2, 1, 3),
    (448, 896): (1, 2, 3),
    (1280, 720): (2, 1, 3),  # 1.778: 2/1 is 0.222 away, 3/2 is 0.278 away
    (720, 1280): (1, 2, 3),  # 0.5625: 1/2 is 0.063 away, 2/3 is 0.104 away
    (1344, 448): (3, 1, 4),
    (448, 1500): (1, 3, 4),  # 0.299: 1/3 is 0.035 away, 1/4 is 0.049 away
    (2000, 448): (4, 1, 5),  # 4.464: 4/1 is 0.464 away, 5/1 is 0.536 away
    (448, 2688): (1, 6, 7),
    (5000, 448): (6, 1, 7),  # 11.2: the flattest there is
    (900, 600): (3, 2, 7),
    (600, 900): (2, 3, 7),
    (100, 100): (1, 1, 1),  # tie of 1/1 and 2/2: 10,000 < 401,408
    (1000, 1000): (2, 2, 5),  # the same tie: 1,000,000 > 401,408
    (634, 633): (1, 1, 1),  # 401,322 < 401,408
    (634, 634): (2, 2, 5),  # 401,956 > 401,408
    (500, 200): (2, 1, 3),  # 2.5, tie of 2/1 and 3/1: 100,000 < 301,056
    (1000, 400): (3, 1, 4),  # the same tie: 400,000 > 301,056
    (600, 480): (1, 1, 1),  # 1.25, tie of 1/1, 2/2 and 3/2: 288,000 < 401,408
    (1250, 1000): (3, 2, 7),  # the same tie: 1,250,000 > 602,112
}


@pytest.mark.parametrize("size", TABLE)
def test_grid_tiles_and_tokens(size):
    columns, rows, tiles = TABLE[size]
    assert choose_grid(*size, max_tiles=6, tile=448) == (columns, rows)
    assert tile_count(*size, 6, 448) == tiles
    vision = SimpleNamespace(patch_size=14)
    config = SimpleNamespace(vision_config=vision, downsample_ratio=0.5)
    stored = {"size": {"height": 448}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images = InternVL(Path(), config, stored, {"image_size": None, "max_tiles": 6})
    assert images.marks(images.tile_count(*size)).count("<IMG_CONTEXT>") == 256 * tiles


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


@pytest.mark.parametrize("most", [1000, 1 << 24])
@pytest.mark.parametrize(
    "size", [(30, 20), (21, 40), (9, 130), (130, 9), (3, 100), (100, 3), (90, 200), (150, 60)]
)
def test_the_middle_is_that_of_the_whole_image_resized(monkeypatch, size, most):
    monkeypatch.setattr(tiling, "MOST_PIXELS", most)
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    width, height = (int(28 * side / min(size)) for side in size)
    left, top = (width - 28) // 2, (height - 28) // 2
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    expected = whole.crop((left, top, left + 28, top + 28))
    assert tiling.middle(image, 28).tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(6000, 2), (2, 6000)])
def test_the_middle_of_a_strip_needs_little_memory(monkeypatch, size):
    """Its four middle pixels, black and white, fill the square; 30 million pixels as a whole."""
    resize, sizes = Image.Image.resize, []

    def watched(image, new, *others):
        sizes.append(new[0] * new[1])
        return resize(image, new, *others)

    monkeypatch.setattr(Image.Image, "resize", watched)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (size[0] // 2, size[1] // 2, *size))
    shown = tiling.middle(image, 100)
    assert max(sizes) <= 1 << 24
    assert shown.size == (100, 100)
    assert shown.getpixel((99, 99)) == (255, 255, 255)
    assert shown.getpixel((0, 0)) == (0, 0, 0)


def test_pixels_are_bytes_channels_first_and_normalised_later():
    """Both as the images' processor does it, worked out by hand."""
    values = pixels([Image.new("RGB", (28, 14), (51, 102, 255))])
    assert values.dtype == np.uint8
    assert values.shape == (1, 3, 14, 28)
    assert values[0, :, 3, 5].tolist() == [51, 102, 255]
    images = Family.__new__(Family)
    images.mean, images.std = (0.2, 0.2, 0.5), (0.1, 0.2, 0.5)
    found = images.normalised(torch.from_numpy(values))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[0, :, 3, 5], [0.0, 1.0, 1.0], atol=1e-6)


def test_normalised_pixels_are_those_of_numpy_to_the_last_bit():
    """As they were computed before they travelled as bytes."""
    values = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 28), dtype=np.uint8)
    images = Family.__new__(Family)
    images.mean, images.std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.261, 0.275)
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (images.mean, images.std))
    wanted = (values.astype(np.float32) / np.float32(255) - mean) / std
    assert (images.normalised(torch.from_numpy(values)).numpy() == wanted).all()

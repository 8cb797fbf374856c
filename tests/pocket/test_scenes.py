"""Composed scenes: boxes hold what is drawn, and nothing but the seed decides."""

import numpy as np
import pytest
from PIL import Image

from stages.core.base.errors import InputError
from stages.pocket import pictures, scenes
from stages.pocket.pool import read_pool

SIZE = 112


def _extent(mask: np.ndarray) -> tuple[float, ...]:
    """The relative box of a mask's true pixels."""
    rows, columns = np.nonzero(mask)
    size = len(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return tuple(value / size for value in box)


def _inside(inner, outer, slack=1e-9) -> bool:
    return (
        inner[0] >= outer[0] - slack
        and inner[1] >= outer[1] - slack
        and inner[2] <= outer[2] + slack
        and inner[3] <= outer[3] + slack
    )


@pytest.fixture
def white(monkeypatch):
    """White backgrounds and black ink, so that what was drawn can be told apart."""
    blank = lambda random, size: (Image.new("RGB", (size, size), "white"), "white")  # noqa: E731
    monkeypatch.setattr(scenes, "draw_background", blank)
    monkeypatch.setattr(scenes, "draw_ink", lambda random, image: ("black", (0, 0, 0)))


def test_the_pool_is_cropped_and_labelled(pool):
    disc = next(thing for thing in pool.things if thing.name == "disc")
    assert disc.picture.size == (30, 30)
    assert (disc.kind, disc.caption, disc.tags) == ("symbol", "A disc.", ("shape",))
    assert {thing.name: thing.colour for thing in pool.things}["tent"] == "green"
    assert [region.name for region in pool.maps[0].regions] == ["Westland", "Eastland"]
    assert [digits.shape for digits in pool.digits] == [(1, 28, 28)] * 10


def test_a_pool_without_a_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"objects\.parquet: missing"):
        read_pool(tmp_path, "train")


@pytest.mark.parametrize("seed", range(12))
def test_an_objects_box_holds_all_its_pixels_and_little_more(pool, white, seed):
    things = [t for t in pool.things if t.name in ("disc", "tent")]
    scene = scenes.compose(np.random.default_rng(seed), things, SIZE)
    pixels = np.asarray(scene.image).astype(int)
    red, green = pixels[..., 0], pixels[..., 1]
    masks = {"disc": green < red - 20, "tent": red < green - 20}
    assert {item.name for item in scene.items} <= masks.keys()
    assert scene.items
    for item in scene.items:
        found = _extent(masks[item.name])
        assert _inside(found, item.box)
        assert np.abs(np.subtract(found, item.box)).max() <= 3 / SIZE


@pytest.mark.parametrize("seed", range(8))
def test_words_and_numbers_are_drawn_inside_their_boxes(pool, white, seed):
    for make in (scenes.text_scene, scenes.number_scene):
        scene = make(np.random.default_rng(seed), pool, SIZE)
        if scene.family == "text" and scene.background == "black":
            continue  # a sign: its panel has the colour of the ink here
        pixels = np.asarray(scene.image.convert("L")).astype(int)
        if scene.family == "text":
            drawn = pixels < 128
        else:  # strokes differ from the flat background of the corner that no digit touches
            drawn = np.abs(pixels - (255 if scene.background == "white" else 0)) > 60
        covered = np.zeros_like(drawn)
        for item in scene.items:
            x1, y1, x2, y2 = np.round(np.array(item.box) * SIZE).astype(int)
            covered[y1:y2, x1:x2] = True
        assert drawn.any()
        assert not (drawn & ~covered).any()


def test_text_is_what_the_words_say_from_top_to_bottom(pool):
    made = [scenes.text_scene(np.random.default_rng(seed), pool, SIZE) for seed in range(30)]
    double = [scene for scene in made if len(scene.items) == 2]
    assert double
    for scene in double:
        first, second = scene.items
        assert first.box[1] <= second.box[1]
        assert scene.text == f"{first.name} {second.name}"


@pytest.mark.parametrize("seed", range(10))
def test_a_maps_boxes_follow_its_cut_out(pool, seed):
    scene = scenes.map_scene(np.random.default_rng(seed), pool, SIZE)
    pixels = np.asarray(scene.image).astype(int)
    masks = {
        "Westland": pixels[..., 0] - pixels[..., 2] > 100,
        "Eastland": pixels[..., 2] - pixels[..., 0] > 100,
    }
    colours = {"Westland": "red", "Eastland": "blue"}
    assert scene.items
    for item in scene.items:
        assert item.colour == colours[item.name]
        assert np.abs(np.subtract(_extent(masks[item.name]), item.box)).max() <= 2.5 / SIZE


def test_bars_are_as_long_as_their_values(pool):
    for seed in range(6):
        scene = scenes.chart_scene(np.random.default_rng(seed), pool, SIZE)
        for axis in (0, 1):
            lengths = [item.box[axis + 2] - item.box[axis] for item in scene.items]
            if max(lengths) - min(lengths) > 0.02:  # the axis that the bars grow along
                by_value = np.argsort([item.value for item in scene.items])
                assert list(by_value) == list(np.argsort(lengths))


def test_a_seed_gives_the_same_scene_again(pool):
    for seed in range(10):
        one, two = (scenes.make_scene(pool, SIZE, seed) for _ in range(2))
        assert one.items == two.items
        assert one.image.tobytes() == two.image.tobytes()
    assert len({scenes.make_scene(pool, SIZE, seed).image.tobytes() for seed in range(10)}) > 8


def test_colours_have_names():
    assert pictures.nearest_colour((255, 250, 10)) == "yellow"
    assert pictures.nearest_colour((130, 250, 130)) == "green"
    assert pictures.nearest_colour((60, 60, 66)) == "black"
    assert pictures.colour_name(Image.new("RGBA", (30, 30), (30, 40, 200, 255))) == "blue"
    mixed = Image.new("RGBA", (30, 30), (30, 40, 200, 255))
    mixed.paste((255, 255, 255, 255), (0, 0, 30, 12))
    mixed.paste((220, 40, 40, 255), (0, 12, 30, 24))
    assert pictures.colour_name(mixed) == ""

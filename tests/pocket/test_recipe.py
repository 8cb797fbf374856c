"""The recipe's parts that need no package: names, colours, splits, duplicates, WordNet."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stages.pocket.build import draw, images, naming, objects, rows
from stages.pocket.build.objects import Thing
from stages.pocket.build.wordnet import WordNet


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A US 25 cent piece ($.25) called a quarter.", "US 25 cent piece"),
        ("A crow.", "crow"),
        ("The sign for the letter J in American Sign Language.", "sign for the letter J"),
        ("An old Chinese sailing ship.", "old Chinese sailing ship"),
        ("A pair of glasses.", "pair of glasses"),
        ("Confetti.", "confetti"),
        ("Hard candy—yum!", "hard candy"),
        ("Take me to your leader, please.", None),
    ],
)
def test_name_from_description(text, name):
    assert naming.from_description(text) == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fire truck", "A fire truck."),
        ("apple", "An apple."),
        ("unicorn", "A unicorn."),
        ("umbrella", "An umbrella."),
        ("scissors", "Scissors."),
        ("bus", "A bus."),
    ],
)
def test_sentence(name, sentence):
    assert naming.sentence(name) == sentence


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 0, 0), "red"),
        ((255, 128, 0), "orange"),
        ((255, 255, 0), "yellow"),
        ((0, 200, 60), "green"),
        ((0, 60, 255), "blue"),
        ((120, 0, 255), "purple"),
        ((255, 105, 180), "pink"),
        ((139, 69, 19), "brown"),
        ((204, 204, 204), "gray"),
        ((255, 255, 255), "white"),
        ((10, 10, 10), "black"),
    ],
)
def test_nearest_colour(rgb, name):
    assert draw.nearest_colour(rgb) == name


def test_shares_have_the_asked_sizes_and_depend_on_the_key_alone():
    keys = [f"key {i}" for i in range(4000)]
    found = [objects.share_of(key, 0.5, 0.3) for key in keys]
    assert found == [objects.share_of(key, 0.5, 0.3) for key in keys]
    for share, size in (("pool", 0.5), ("train", 0.3), ("test", 0.2)):
        assert abs(found.count(share) / 4000 - size) < 0.03


def thing(key: str, colour: str, name: str, square: bool = True) -> Thing:
    image = Image.new("RGBA", (60, 60))
    shape = ImageDraw.Draw(image)
    (shape.rectangle if square else shape.ellipse)((5, 5, 55, 55), fill=colour)
    return Thing(key, image, name, None, None, (), "", "emoji", "")


def test_copies_are_dropped_and_look_alikes_share_a_group():
    things = [
        thing("a", "#ff0000", "box"),
        thing("b", "#ff0000", "box"),  # the same picture and name: dropped
        thing("c", "#f80505", "crate"),  # nearly the same: kept in the same group
        thing("d", "#0000ff", "box"),
        thing("e", "#ff0000", "disc", square=False),
    ]
    kept = objects.deduplicate(things)
    assert [(t.key, t.group) for t in kept] == [("a", "a"), ("c", "a"), ("d", "d"), ("e", "e")]


def test_a_group_lies_in_one_share():
    parts = {"a": ("g", "pool"), "b": ("g", "train"), "c": ("h", "test"), "d": ("h", "test")}
    things = [
        replace(thing(key, "red", key), group=group, share=share)
        for key, (group, share) in parts.items()
    ]
    assert [t.key for t in objects.settle(things)] == ["a", "c", "d"]


def test_cut_out_trims_to_what_is_visible_and_caps_the_side():
    image = Image.new("RGBA", (400, 400))
    ImageDraw.Draw(image).rectangle((100, 50, 299, 149), fill="blue")
    assert images.cut_out(image, side=100).size == (100, 50)
    assert images.cut_out(Image.new("RGBA", (9, 9))) is None


def test_what_vanishes_on_a_white_page_is_not_presentable():
    white, red = (Image.new("RGBA", (80, 80), colour) for colour in ("white", "red"))
    assert not images.presentable(white)
    red.paste((0, 0, 0, 0), (0, 0, 40, 80))
    assert images.presentable(red)
    assert not images.presentable(red.resize((80, 8)))


def test_choice_keeps_the_right_option():
    for seed in range(20):
        made = rows.choice(random.Random(seed), "right", ["one", "two", "three"])
        assert sorted(made["choices"]) == ["one", "right", "three", "two"]
        assert made["choices"][made["answer_index"]] == "right"


def test_written_text_stays_in_its_box():
    font = any_font()
    canvas = Image.new("RGB", (100, 60), "white")
    draw.write(canvas, "Ny", (20, 10, 80, 50), font, (0, 0, 0))
    dark = np.argwhere(np.asarray(canvas.convert("L")) < 200)
    (top, left), (bottom, right) = dark.min(axis=0), dark.max(axis=0)
    assert left >= 19 and right <= 81 and top >= 9 and bottom <= 51
    assert right - left > 25 or bottom - top > 25


def any_font() -> str:
    from matplotlib import font_manager

    return font_manager.findfont("DejaVu Sans")


def test_wordnet_reader(tmp_path):
    noun = "  1 a line of the licence\n" + "".join(
        f"{offset} {lex} n 01 {word} 0 {pointers} | {gloss}  \n"
        for offset, lex, word, pointers, gloss in (
            ("00000010", "05", "dog", "001 @ 00000020 n 0000", "a barking animal"),
            ("00000020", "05", "animal", "000", "a living thing"),
            ("00000030", "18", "Dog_Star_Man", "000", "a name"),
        )
    )
    (tmp_path / "data.noun").write_text(noun)
    index = "dog n 1 1 @ 1 1 00000010\nanimal n 1 0 1 1 00000020\ndog_star_man n 1 0 1 0 00000030\n"
    (tmp_path / "index.noun").write_text("  1 licence\n" + index)
    for part in ("verb", "adj", "adv"):
        (tmp_path / f"index.{part}").write_text("run v 1 0 1 0 00000001\n")
    wordnet = WordNet(tmp_path)
    (sense,) = wordnet.senses("dogs")
    assert (sense.words, sense.lexname, sense.gloss) == (("dog",), 5, "a barking animal")
    assert wordnet.ancestors(sense) == {10, 20}
    assert wordnet.known("dogs") and wordnet.known("run")
    assert not wordnet.known("gatto") and not wordnet.known("dog_star_man")

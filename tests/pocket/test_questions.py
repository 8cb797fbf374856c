"""Answers against the scene they are about, worked out by hand or parsed back."""

import re

import numpy as np
from PIL import Image

from stages.pocket.questions import Asker, box_text, compass, place_name, with_article
from stages.pocket.scenes import Item, Scene, make_scene

FROG = Item((0.1, 0.1, 0.3, 0.4), "frog", "animal", "A green frog.", ("pond",), "green")
VAN = Item((0.6, 0.5, 0.9, 0.9), "van", "vehicle", "A van.", (), "")


def _turns(pool, *items: Item, tries: int = 40) -> list:
    scene = Scene(Image.new("RGB", (8, 8)), "objects", items, "red")
    return [t for seed in range(tries) for t in Asker(scene, pool, _random(seed)).turns()]


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_boxes_are_written_in_thousandths():
    assert box_text((0.1, 0.25, 0.3337, 1.0)) == "<box>[[100,250,334,1000]]</box>"
    assert box_text((-0.01, 0.0, 0.5, 1.02)) == "<box>[[0,0,500,1000]]</box>"


def test_places_are_cells_of_three_by_three():
    assert place_name((0.0, 0.0, 0.2, 0.2)) == "top left"
    assert place_name((0.4, 0.4, 0.6, 0.6)) == "center"
    assert place_name((0.4, 0.8, 0.6, 1.0)) == "bottom"
    assert place_name((0.7, 0.3, 1.0, 0.7)) == "right"


def test_places_on_maps_are_points_of_the_compass():
    assert compass("top left") == "northwest"
    assert [compass(place) for place in ("right", "bottom", "center")] == [
        "east",
        "south",
        "middle",
    ]


def test_edges_are_the_numbers_of_the_box(pool):
    edges = {t.question: t.answer for t in _turns(pool, FROG) if t.family == "edge"}
    assert edges == {
        "Where is the left edge of frog?": "100",
        "Where is the top edge of frog?": "100",
        "Where is the right edge of frog?": "300",
        "Where is the bottom edge of frog?": "400",
    }


def test_articles():
    assert [with_article(n) for n in ("frog", "apple", "scissors", "glass", "Mars")] == [
        "a frog",
        "an apple",
        "scissors",
        "a glass",
        "Mars",
    ]


def test_questions_about_two_objects_have_the_right_answers(pool):
    turns = _turns(pool, FROG, VAN)
    asked = {(turn.question.split("\n")[0], turn.answer) for turn in turns}
    assert ("How many objects are there?", "2") in asked
    assert ("Is the frog left of the van?", "yes") in asked
    assert ("Is the van left of the frog?", "no") in asked
    assert ("Which object is rightmost?", "van") in asked
    assert ("Which object is topmost?", "frog") in asked
    assert ("What color is the frog?", "green") in asked
    assert ("In which part of the image is the van?", "bottom right") in asked
    wrong = {("Is the frog left of the van?", "no"), ("Is the frog right of the van?", "yes")}
    assert not wrong & asked
    captions = {turn.answer for turn in turns if turn.family == "caption_many"}
    assert captions == {"A frog and a van."}
    boxes = {turn.answer for turn in turns if turn.family == "box" and "frog" in turn.question}
    assert boxes == {"<box>[[100,100,300,400]]</box>"}


def test_presence_is_true_exactly_for_what_is_there(pool):
    for turn in _turns(pool, FROG):
        if turn.family == "yes_no":
            assert (turn.answer == "yes") == ("frog" in turn.question)


def test_the_letter_of_a_choice_names_the_right_option(pool):
    rights = {"choice_name": {"frog"}, "choice_kind": {"animal"}}
    seen = set()
    for turn in _turns(pool, FROG):
        if turn.family in rights:
            options = dict(re.findall(r"([A-E])\. ([^,\n]+)", turn.question))
            assert len(set(options.values())) == len(options) >= 2
            assert options[turn.answer] in rights[turn.family]
            seen.add(turn.answer)
    assert len(seen) > 1  # the right option is not always in the same place


def test_a_single_object_is_captioned_by_its_own_sentence(pool):
    captions = {turn.answer for turn in _turns(pool, FROG) if turn.family == "caption"}
    assert captions == {"A green frog."}


def test_charts_and_texts_are_answered_from_their_values(pool):
    for seed in range(200):
        scene = make_scene(pool, 56, seed)
        turns = Asker(scene, pool, _random(seed)).turns()
        answers = {t.question.split("\n")[0]: t.answer for t in turns}
        if scene.family == "charts":
            longest = max(scene.items, key=lambda item: item.value).name
            assert answers.get("Which bar is the longest?", longest) == longest
            if len({item.colour for item in scene.items}) > 1:
                shortest = min(scene.items, key=lambda item: item.value)
                said = answers.get("What color is the shortest bar?", shortest.colour)
                assert said == shortest.colour
        if scene.family == "numbers":
            assert answers["How many digits are there?"] == str(len(scene.text))
            assert answers["What is digit 1 from the left?"] == scene.text[0]
        if scene.family == "text" and len(scene.items) == 1:
            assert answers["Spell the word."].replace(" ", "") == scene.text
            assert answers["What is the last letter of the word?"] == scene.text[-1]

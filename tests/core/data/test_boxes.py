"""Boxes: conventions, faults, and what a text says."""

import pytest

from stages.core.data.boxes import box_text, check_shape, corners, relative_box, written_box
from stages.core.data.faults import RowError


@pytest.mark.parametrize(
    ("box", "size", "text"),
    [
        ((0, 0, 100, 50), (100, 50), "<box>[[0,0,1000,1000]]</box>"),
        ((10, 20, 30, 40), (200, 100), "<box>[[50,200,150,400]]</box>"),
        ((1, 1, 3, 3), (2000, 400), "<box>[[1,3,2,8]]</box>"),  # 0.5, 2.5, 1.5, 7.5: halves go up
        ((1, 1, 2, 2), (3, 3), "<box>[[333,333,667,667]]</box>"),
        ((-0.4, 3, 100.6, 49), (100, 50), "<box>[[0,60,1000,980]]</box>"),
    ],
)
def test_box_text(box, size, text):
    assert box_text(relative_box(box, size)) == text


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 20),
        (10, 20, 30, 20),
        (30, 10, 20, 20),
        (-2, 0, 10, 10),
        (0, 0, 102, 10),
        (0, 0, 10, 52),
        (100, 10, 100.5, 20),  # on the edge: nothing is left of it
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
    ],
)
def test_boxes_without_area_or_outside(box):
    with pytest.raises(RowError) as caught:
        relative_box(box, (100, 50))
    assert caught.value.kind == "bad box"


@pytest.mark.parametrize(
    ("box", "unit", "order"),
    [
        ((20, 10, 100, 80), "pixels", "xyxy"),
        ((20, 10, 80, 70), "pixels", "xywh"),
        ((0.1, 0.1, 0.5, 0.8), "relative", "xyxy"),
        ((0.1, 0.1, 0.4, 0.7), "relative", "xywh"),
        ((100, 100, 500, 800), "grid1000", "xyxy"),
        ((100, 100, 400, 700), "grid1000", "xywh"),
    ],
)
def test_every_convention_says_the_same_box(box, unit, order):
    assert relative_box(corners(box, order), (200, 100), unit) == pytest.approx(
        (0.1, 0.1, 0.5, 0.8)
    )


@pytest.mark.parametrize(
    ("box", "size", "unit", "said"),
    [
        ((0.1, 0.1, 0.9, 0.9), (200, 100), "pixels", r"within 0\.\.1.*box: \{format: relative\}"),
        ((0, 0, 1, 1), (200, 100), "grid1000", r"within 0\.\.1; expected numbers of 0 to 1000"),
        ((0.5, 0.5, 1.001, 0.9), (200, 100), "relative", "leaves the image of 1 x 1"),
        ((-0.001, 0.5, 1.0, 0.9), (200, 100), "relative", "leaves the image"),
        ((20, 10, 1001, 80), (200, 100), "grid1000", "leaves the image of 1000 x 1000"),
        ((20, 10, 20.9, 80), (200, 100), "pixels", "less than a pixel wide or high"),
        ((199.5, 10, 200.6, 80), (200, 100), "pixels", "less than a pixel"),  # half of it is left
        ((0.5, 0.5, 0.9, 0.509), (200, 100), "relative", "less than a pixel"),  # 0.9 pixels high
        ((500, 10, 503, 80), (200, 100), "grid1000", "less than a pixel"),  # 0.6, and 0.2 rounding
        ((float("nan"), 1, 5, 5), (200, 100), "relative", "NaN"),
        ((1, 1, float("inf"), 5), (200, 100), "pixels", "Infinity"),
        ((30, 30, 20, 10), (200, 100), "pixels", r"order: xywh"),
    ],
)
def test_a_box_of_another_convention_is_told(box, size, unit, said):
    with pytest.raises(RowError, match=said) as caught:
        relative_box(box, size, unit)
    assert caught.value.kind == "bad box"


@pytest.mark.parametrize(
    ("box", "size", "unit"),
    [
        ((20, 10, 21, 11), (200, 100), "pixels"),  # one pixel
        ((500, 10, 504, 80), (200, 100), "grid1000"),  # 0.8 pixels: one, and 0.2 of rounding
        ((500, 10, 501, 80), (1600, 1200), "grid1000"),
        ((0.7, 0.2, 0.7 + 0.3, 0.4), (200, 100), "relative"),
        ((0.5, 0.5, 1.5, 1.5), (200, 100), "pixels"),
    ],
)
def test_small_boxes_that_are_sound(box, size, unit):
    assert len(relative_box(box, size, unit)) == 4


@pytest.mark.parametrize(
    ("said", "found"),
    [((200, 100), (200, 100)), ((640, 427), (320, 213)), ((500, 333), (1000, 667))],
)
def test_a_scaled_image_has_the_same_shape(said, found):
    check_shape(said, found)


@pytest.mark.parametrize(("said", "found"), [((200, 100), (100, 200)), ((640, 480), (480, 480))])
def test_a_size_of_another_shape_is_a_fault(said, found):
    with pytest.raises(RowError, match="another shape") as caught:
        check_shape(said, found)
    assert caught.value.kind == "bad size"


def test_a_written_box_is_on_the_grid():
    assert written_box("at <box>[[100,200,300,400]]</box>", (50, 40)) == (0.1, 0.2, 0.3, 0.4)
    for text in ("[[0.1,0.2,0.3,0.4]]", "[[1,2,3]]", "none", "[[nan,1,2,3]]", "[[1,2,3,1400]]"):
        with pytest.raises(RowError):
            written_box(text, (50, 40))

"""The probes' figures by hand."""

import pytest

from stages.pocket import evaluate_backbone as stage


def _probes(*golds) -> list[stage.Probe]:
    return [stage.Probe(None, "", gold) for gold in golds]


def test_boxes():
    golds = _probes((0.0, 0.0, 0.4, 0.4), (0.0, 0.0, 0.5, 1.0), (0.1, 0.1, 0.2, 0.2))
    answers = [
        "<box>[[0,0,400,400]]</box>",  # IoU 1
        "<box>[[0,0,1000,1000]]</box>",  # half of the area: 0.5, which is not above it
        "somewhere",
    ]
    figures = stage._boxes(golds, answers)
    assert figures["mean_iou"] == pytest.approx(0.5)
    assert figures["iou_above_half"] == pytest.approx(100 / 3)
    assert figures["unparsed"] == 1


def test_kinds_are_averaged_over_samples_and_over_kinds():
    probes = _probes("animal", "animal", "animal", "food")
    figures = stage._kinds(probes, ["animal", "Animal.", "food", "tool"])
    assert figures["accuracy"] == pytest.approx(50)
    assert figures["mean_over_kinds"] == pytest.approx((200 / 3 + 0) / 2)
    assert figures["accuracy_animal"] == pytest.approx(200 / 3)


def test_spelling():
    figures = stage._spelling(_probes("Dover", "Ely"), ["dover", "Elf"])
    assert figures["accuracy"] == pytest.approx(50)
    assert figures["similarity"] == pytest.approx((1 + 2 * 2 / 6) / 2)


def test_captions_score_highest_when_right():
    golds = _probes("A small green frog.", "A very old red van.", "A dog on a roof.")
    right = stage._cider(golds, [probe.gold for probe in golds])["cider"]
    mixed = stage._cider(golds, ["A dog on a roof.", "", "A dog on a roof."])["cider"]
    assert right == pytest.approx(1000)
    assert 1000 / 3 <= mixed < 500

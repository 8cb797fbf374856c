"""cmit picture: one heat map a method, with the scores that the run has."""

import xml.etree.ElementTree as ET

import pytest

from stages.tools import cmit, picture


def test_means_over_seeds() -> None:
    rows = [
        {"method": "a", "step": 0, "task": "t", "value": value, "seed": seed}
        for seed, value in enumerate((10.0, 30.0))
    ]
    assert picture.matrices(rows) == {"a": {(0, "t"): 20.0}}


def test_a_cell_a_score_and_a_frame_where_the_task_is_learnt() -> None:
    found = {"m": {(0, "x"): 12.4, (1, "x"): 90.0, (1, "y"): 3.0, (2, "y"): 56.0}}
    (axes,) = picture.draw(["x", "y"], found).axes
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "12": (0, 0), "90": (0, 1), "3": (1, 1), "56": (1, 2),
    }  # fmt: skip
    assert {patch.get_xy() for patch in axes.patches} == {(-0.5, 0.5), (0.5, 1.5)}
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "before", "after x", "after y",
    ]  # fmt: skip


def test_equal_runs_give_equal_bytes(small_run, tmp_path) -> None:
    for name in ("a.svg", "b.svg"):
        cmit.main(["picture", str(small_run), str(tmp_path / name)])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_a_run_without_scores(tmp_path, small_run, capsys) -> None:
    (tmp_path / "runs.json").write_bytes((small_run / "runs.json").read_bytes())
    with pytest.raises(SystemExit):
        cmit.main(["picture", str(tmp_path), str(tmp_path / "a.svg")])
    assert "scores.parquet: missing" in capsys.readouterr().err

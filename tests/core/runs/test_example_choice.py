"""Examples for the report: of which runs, which samples, within how many bytes."""

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from stages.core.base import artifacts
from stages.core.runs.examples import read_examples, runs_to_show, thumbnail
from stages.core.runs.run_sheet import RunSheet
from tests.helpers.hand_made_run import TASKS, write_run


def forgot(**values: float | None) -> dict:
    methods = [{"name": n, "metrics": {"forgetting": {"mean": v}}} for n, v in values.items()]
    return {"reference": "mine", "methods": methods}


COMPARISON = forgot(zero_shot=99, mine=5, other=3)


def png(width: int, height: int, shade: int = 0) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def sheet(tmp_path: Path) -> RunSheet:
    """Of task first the samples stays and fades share an image, later has a broken one."""
    write_run(tmp_path)
    file = tmp_path / "data/first.parquet"
    rows = artifacts.read_table("data", file).to_pylist()
    images = {
        "stays": png(300, 100),
        "fades": png(300, 100),
        "later": b"broken",
    }
    for row in rows:
        if found := images.get(row["sample_id"]):
            row["images"] = [{"bytes": found, "path": None, "orientation": None}]
    artifacts.write_table("data", file, rows, task="first", provenance={})
    return RunSheet(tmp_path / "runs.json")


def names(sheet: RunSheet, task: str, budget: int = 10**6) -> list[str]:
    return [one.sample_id for one in read_examples(sheet, COMPARISON, budget).by_task[task]]


def test_the_reference_and_the_most_forgetful_are_shown(sheet: RunSheet) -> None:
    shown = [(run.name, run.seed) for run in runs_to_show(sheet, COMPARISON)]
    assert shown == [("mine", 3), ("other", 3)]
    assert [run.name for run in runs_to_show(sheet, forgot(mine=1, joint=9))] == ["mine"]


def test_samples_of_every_kind_are_counted_and_some_shown(sheet: RunSheet) -> None:
    found = read_examples(sheet, COMPARISON, 10**6)
    counts = found.counts["first"]["mine"]
    assert counts == {"kept": 3, "forgotten": 1, "learnt": 2, "misrouted": 3, "unparsed": 1}
    kinds = {one.sample_id: one.kinds["mine"] for one in found.by_task["first"]}
    assert kinds["fades"] == ["forgotten", "learnt", "misrouted"]
    assert kinds["never"] == ["misrouted", "unparsed"]
    assert {kind for own in kinds.values() for kind in own} == set(counts)
    assert len(found.by_task["second"]) == len(set(names(sheet, "second"))) <= 2


def test_text_alone_and_images_that_cannot_be_read(sheet: RunSheet) -> None:
    images = {
        one.sample_id: one.image for one in read_examples(sheet, COMPARISON, 10**6).by_task["first"]
    }
    assert images["stays"] == images["fades"] and images["stays"].size == (200, 67)
    assert images["never"] is None
    assert "embedded image" in images["later"].fault and not images["later"].uri


def test_images_keep_to_their_bytes(sheet: RunSheet) -> None:
    found = read_examples(sheet, COMPARISON, 10**6).by_task["first"]
    cost = {one.sample_id: len(one.image.uri) for one in found if one.image}
    least = names(sheet, "first", 0)
    assert "stays" not in least and "fades" not in least and set(least) >= {"later", "never"}
    # one image serves both samples
    assert set(names(sheet, "first", cost["stays"])) >= {"stays", "fades"}
    assert list(read_examples(sheet, COMPARISON, 0).by_task) == TASKS


def test_a_thumbnail_is_a_small_jpeg() -> None:
    made = thumbnail({"bytes": png(1000, 4000, 200), "path": None, "orientation": 6})
    coded = base64.b64decode(made.uri.removeprefix("data:image/jpeg;base64,"))
    image = Image.open(BytesIO(coded))
    assert (image.format, image.size) == ("JPEG", (200, 50)) and abs(
        image.getpixel((9, 9))[0] - 200
    ) < 3

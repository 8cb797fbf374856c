"""How far tasks can be told apart: sets of features, and what the report shows of them."""

import pytest

from stages import measure_separability
from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.report.separability import section
from stages.core.runs.results import Results
from tests.helpers.featured_run import PLACES, write_features, write_tasks

# image and text half of two rows a task: images lie alike, texts apart
ROWS = {"signs": [[0.0, 1.0], [2.0, 1.0]], "maps": [[0.0, 5.0], [2.0, 5.0]]}
ASKED = {"signs": ["What does it say?", "Where?"], "maps": ["where", "How far?"]}
# of a variant under another seed: the second row of maps is nearer to the mean of signs, (0, 0)
RAW = {"signs": [[-1.0, 0.0], [1.0, 0.0]], "maps": [[9.0, 9.0], [1.0, 1.0]]}
CHANGED = {"subset_features": "seed1/raw/features", "test_features": "raw/features"}


@pytest.fixture
def root(tmp_path):
    """Two runs that share features, one with its own, and one that routes without."""
    write_tasks(tmp_path, ROWS, ASKED)
    for place in CHANGED.values():
        for task, rows in RAW.items():
            write_features(tmp_path / place, task, rows)
    write_features(tmp_path / "seed0/features", "signs", ROWS["signs"])
    write_features(tmp_path / "seed0/features", "maps", ROWS["maps"])
    shared = PLACES | {"subset_features": "seed0/features"}
    rows = {"train_rows": "data", "test_rows": "data"}
    runs = [
        entry("dmole", 0, shared),
        entry("half", 0, shared),
        entry("seq_ft", 0, rows),
        entry("raw", 1, shared | CHANGED),
    ]
    sheet = {"stream": "s", "root": ".", "tasks": list(ROWS), "config": {}, "runs": runs}
    artifacts.write_json("runs", tmp_path / "runs.json", {**sheet, "provenance": {}})
    return tmp_path


def entry(name: str, seed: int, places: dict[str, str]) -> dict:
    files = {
        artefact: {task: f"{folder}/{task}.parquet" for task in ROWS}
        for artefact, folder in places.items()
    }
    named = {"name": name, "method": "dmole", "seed": seed, "tasks": list(ROWS)}
    return {**named, "artefacts": files}


@pytest.fixture
def found(root) -> dict:
    out = root / "separability.json"
    measure_separability.main(["--runs", str(root / "runs.json"), "--out", str(out)])
    return artifacts.read_json("separability", out)


def test_runs_with_the_same_features_are_measured_once(found):
    assert [(e["scope"], e["seed"], e["runs"]) for e in found["features"]] == [
        ("seed0", 0, ["dmole", "half"]),
        ("seed1/raw", 1, ["raw"]),
    ]


def test_shares_by_hand(found):
    shared, raw = found["features"]
    # means of the images are equal, and of equally near ones the first counts
    assert shared["prototype"]["image"] == {"signs": 1.0, "maps": 0.0}
    assert shared["prototype"]["text"] == {"signs": 1.0, "maps": 1.0}
    # means (0, 0) and (5, 5): (1, 1) is nearer to the first, but it is a row itself
    assert raw["prototype"]["both"] == {"signs": 1.0, "maps": 0.5}
    assert raw["neighbour"]["both"] == {"signs": 1.0, "maps": 1.0}


def test_what_is_shared(found):
    assert found["prompts"] == {  # "Where?" is "where"
        "signs": {"signs": 1.0, "maps": 0.5},
        "maps": {"signs": 0.5, "maps": 1.0},
    }
    assert found["images"]["maps"] == {"signs": 1.0, "maps": 1.0}


def test_the_report_says_what_routing_scores_mean(found):
    results = Results({}, list(ROWS), [], {}, separability=found)
    results.labels = {"tasks": {"maps": "Old maps"}}
    shown = section(results)
    assert "100.0 % of the test rows" in shown.lead and "Chance is 50.0 %" in shown.lead
    apart, fold, shared = shown.blocks
    assert [row[0] for row in apart.rows] == ["signs", "Old maps", "all tasks"]
    # nearest mean by image, text, both; nearest row by image: both tasks have rows at 0 and at 2
    assert apart.rows[1][1:5] == ["0.0", "100.0", "100.0", "0.0"]
    assert apart.rows[2][1:5] == ["50.0", "100.0", "100.0", "50.0"]
    (raw,) = fold.blocks
    assert raw.title == "raw" and raw.rows[2][3] == "75.0"
    texts = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in shared.rows]
    assert texts[0] == ["signs", "100.0", "50.0 (Old maps)", "100.0", "100.0 (Old maps)"]


def test_without_features_the_report_shows_what_is_shared(found):
    results = Results({}, list(ROWS), [], {}, separability=found | {"features": []})
    shown = section(results)
    assert [block.name for block in shown.blocks] == ["shared"]


def test_a_missing_file_is_named(root):
    (root / "data/maps.parquet").unlink()
    with pytest.raises(InputError, match="data/maps.parquet: file not found"):
        measure_separability.main(
            ["--runs", str(root / "runs.json"), "--out", str(root / "x.json")]
        )

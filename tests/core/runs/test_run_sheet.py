"""Where the run sheet says that what is measured of a run on demand lies."""

from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.config import complete
from stages.core.runs.results import read_measured
from stages.core.runs.run_sheet import RunSheet, sheet_of
from stages.core.runs.runs import Runs

TINY = Path(__file__).parents[2] / "data/tiny"


@pytest.mark.parametrize(
    ("sweep", "root", "place"),
    [(None, ".", "seed3/dmole"), ("budgets", "../..", "sweeps/budgets/seed3/dmole")],
)
def test_a_run_says_where_it_is_measured(tmp_path, sweep, root, place) -> None:
    """A sweep has files of its own, whose paths start in the stream's folder too."""
    config = {"stream": "tiny", "manifests": str(TINY), "tasks": ["tiny_choice"], "seeds": [3]}
    config |= {"backbone": {"path": "b"}, "methods": ["dmole"], "sweep": sweep}
    folder = tmp_path / "sweeps/budgets" if sweep else tmp_path
    content = sheet_of(Runs(complete(config, "test")), root)
    artifacts.write_json("runs", folder / "runs.json", content | {"provenance": {}})
    sheet = RunSheet(folder / "runs.json")
    (run,) = sheet.runs
    assert run.measures == {n: tmp_path / place / f"{n}.json" for n in ("general", "robust")}
    assert read_measured(sheet, "robust") == {}
    found = {"samples": 1, "wordings": []}
    artifacts.write_json("robust", run.measures["robust"], found)
    assert read_measured(sheet, "robust") == {("dmole", 3): found}


def test_an_older_run_sheet_names_no_such_files(tmp_path) -> None:
    run = {"name": "dmole", "method": "dmole", "seed": 0, "tasks": ["a"], "artefacts": {}}
    sheet = {"stream": "s", "root": ".", "tasks": ["a"], "config": {}, "runs": [run]}
    artifacts.write_json("runs", tmp_path / "runs.json", {**sheet, "provenance": {}})
    assert read_measured(RunSheet(tmp_path / "runs.json"), "general") == {}

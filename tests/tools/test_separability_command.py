"""cmit separability: what is read of a run, and what is shown."""

import json

import pytest

from stages.core.base.errors import InputError
from stages.core.runs.run_sheet import Run
from stages.tools import separability
from tests.helpers.featured_run import PLACES, write_tasks

# image half (1) and text half (1) of two rows a task; the images of both tasks lie alike
ROWS = {"signs": [[0.0, 1.0], [2.0, 1.0]], "maps": [[0.0, 5.0], [2.0, 5.0]]}
ASKED = {"signs": ["What does it say?", "Where?"], "maps": ["where", "How far?"]}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two tasks with hand-made features; test rows are the training rows."""
    write_tasks(tmp_path, ROWS, ASKED)
    files = {
        artefact: {task: tmp_path / f"{folder}/{task}.parquet" for task in ROWS}
        for artefact, folder in PLACES.items()
    }
    run = Run("dmole", "dmole", 0, list(ROWS), files)
    monkeypatch.setattr("stages.core.runs.find_run.find_run", lambda *_: (None, run))
    return run


def test_what_tells_tasks_apart_is_the_text(run, capsys):
    separability.main(["anywhere", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["prototype"]["text"] == {"signs": 1.0, "maps": 1.0}
    # the images' means are equal, and of equally near ones the first counts
    assert found["prototype"]["image"] == {"signs": 1.0, "maps": 0.0}
    assert found["neighbour"]["both"] == {"signs": 1.0, "maps": 1.0}
    assert found["prompts"]["signs"] == {"signs": 1.0, "maps": 0.5}  # "Where?" is "where"
    assert found["images"]["maps"] == {"signs": 1.0, "maps": 1.0}


def test_the_table_names_who_shares(run, capsys):
    separability.main(["anywhere"])
    said = " ".join(capsys.readouterr().out.split())
    assert "maps: 50 %" in said and "signs: 50 %" in said


def test_a_run_without_features_is_an_error(run):
    run.artefacts.clear()
    with pytest.raises(InputError, match="no features, because it routes without them"):
        separability.main(["anywhere"])

"""cmit projection: the plane of a hand-made case, and what is read of a run and drawn."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.dmole import routers
from stages.core.dmole.autoencoder import Autoencoder
from stages.core.dmole.prototype import Prototype
from stages.core.evaluation.projection import principal_plane
from stages.tools import projection

# around (1, 1, 1): two rows 2 away along the second axis, two rows 1 away along the third
ROWS = {"signs": [[1.0, 3.0, 1.0], [1.0, -1.0, 1.0]], "maps": [[1.0, 1.0, 2.0], [1.0, 1.0, 0.0]]}


def test_the_plane_by_hand():
    """Variance 8 along the first component and 2 along the second."""
    places, shares = principal_plane({task: np.array(rows) for task, rows in ROWS.items()})
    np.testing.assert_allclose(places["signs"], [[2, 0], [-2, 0]], atol=1e-12)
    np.testing.assert_allclose(places["maps"], [[0, 1], [0, -1]], atol=1e-12)
    np.testing.assert_allclose(shares, [0.8, 0.2])


def test_a_turned_case_keeps_distances_and_a_line_has_one_component():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    places, _ = principal_plane({task: np.array(rows) @ turn for task, rows in ROWS.items()})
    assert np.linalg.norm(places["signs"][0] - places["maps"][1]) == pytest.approx(5**0.5)
    line, shares = principal_plane({"a": np.array([[0.0, 0.0], [3.0, 4.0]]), "b": np.zeros((1, 2))})
    assert np.ptp(line["a"][:, 0]) == pytest.approx(5)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)
    _, shares = principal_plane({"a": np.ones((2, 4))})
    assert shares.tolist() == [0, 0]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Two tasks with the rows above and routers of one kind or the other."""
    for task, rows in ROWS.items():
        table = [{"sample_id": str(i), "wording": 0, "z": row} for i, row in enumerate(rows)]
        table.append({"sample_id": "0", "wording": 1, "z": [9.0, 9.0, 9.0]})
        named = {"task": task, "provenance": {}}
        artifacts.write_table("features", tmp_path / f"{task}_z", table, vision_dim=1, **named)
        routers.save(Prototype(task, np.ones(3, np.float32)), tmp_path / f"{task}_router", {})
    ends = {"subset_features": "z", "router_weights": "router"}
    run = SimpleNamespace(
        name="dmole",
        seed=0,
        tasks=list(ROWS),
        artefacts=dict(ends),
        file=lambda artefact, task: tmp_path / f"{task}_{ends[artefact]}",
    )
    sheet = SimpleNamespace(labels={"tasks": {"maps": "Maps & plans"}})
    monkeypatch.setattr("stages.core.runs.find_run.find_run", lambda *_: (sheet, run))
    return run


def test_a_dot_per_row_in_its_tasks_colour(run, tmp_path):
    out = tmp_path / "new" / "tasks.svg"
    projection.main(["anywhere", str(out)])
    drawn = out.read_text()
    dots = re.findall(r'<circle class="f (\w+) half" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert [kind for kind, *_ in dots] == ["blue", "blue", "orange", "orange"]
    (right, left, above, below) = [(float(x), float(y)) for _, x, y in dots]
    assert left[0] < above[0] == below[0] < right[0]
    assert above[1] < left[1] == right[1] < below[1]
    assert "first component, 80% of the variance" in drawn
    assert "2 · Maps &amp; plans" in drawn and "1 · signs" in drawn
    again = tmp_path / "again.svg"
    projection.main(["anywhere", str(again)])
    assert again.read_bytes() == out.read_bytes()


def test_an_autoencoder_draws_what_it_reconstructs(run):
    """One that knows its first two features only: relu(z) there, -1 in the third."""
    for task in ROWS:
        model = Autoencoder(3, 2, task=task)
        with torch.no_grad():
            model.encoder.weight.copy_(torch.eye(2, 3))
            model.decoder.weight.copy_(torch.eye(3, 2))
            model.encoder.bias.zero_()
            model.decoder.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
        routers.save(model, run.file("router_weights", task), {})
    found = projection.rows_of(run)
    assert found["signs"].tolist() == [[1, 3, -1], [1, 0, -1]]
    assert found["maps"].tolist() == [[1, 1, -1], [1, 1, -1]]


def test_a_run_without_features_is_an_error(run, tmp_path):
    run.artefacts.clear()
    with pytest.raises(InputError, match="no features, because it routes without them"):
        projection.main(["anywhere", str(tmp_path / "out.svg")])

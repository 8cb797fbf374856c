"""cmit paper: commands that exist, published values, and a run's own beside them."""

import csv
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.core.base.errors import InputError
from stages.tools import paper

ROOT = Path(__file__).parents[2]


def said(capsys, *words):
    paper.main(list(words))
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", paper.ITEMS)
def test_what_an_item_names_is_there(name, capsys):
    item = paper.ITEMS[name]
    files = [word for word in shlex.split(item.command) if word.endswith(".yaml")]
    assert all((ROOT / file).is_file() for file in files)
    assert item.shows in said(capsys, name)
    assert item.published or item.look or item.ours


def test_published_values_are_shown(capsys):
    found = said(capsys, "table7")
    with (ROOT / "workflow/report/paper/table7_threshold_scaling_last.csv").open() as file:
        for row in csv.reader(file):
            assert row[-1] in found


def test_a_runs_numbers_stand_beside(tmp_path, monkeypatch, capsys):
    summary = {
        "method": "dmole",
        "seeds": [0],
        "metrics": {
            "avg": {"mean": 41.461, "std": None},
            "last": {"mean": 63.44, "std": None},
            "bwt_dmole": {"mean": None, "std": None},
        },
    }
    sheet = SimpleNamespace(root=tmp_path, path=tmp_path / "runs.json")
    monkeypatch.setattr("stages.core.runs.find_run.find_run", lambda path: (sheet, None))
    monkeypatch.setattr(paper.artifacts, "read_json", lambda name, path: {"summary": [summary]})
    assert "dmole 41.46 63.44 ·" in said(capsys, "table2", "anywhere")
    costs = {"name": "dmole", "costs": {"training": 5400.0, "preparation": 360.0}}
    monkeypatch.setattr(paper.artifacts, "read_json", lambda name, path: {"methods": [costs]})
    assert "dmole 1.50 0.10" in said(capsys, "table4", "anywhere")
    with pytest.raises(InputError, match="figure1: has no numbers of its own"):
        paper.main(["figure1", "anywhere"])


def test_an_unknown_item_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'table7'"):
        paper.main(["tabel7"])

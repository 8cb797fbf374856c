"""Which run a person means by a folder, a name and a seed."""

from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.runs.find_run import find_run


def write_sheet(file: Path, root: str, runs: list[tuple[str, int]]) -> None:
    entries = [
        {"name": name, "method": "dmole", "seed": seed, "tasks": ["t"], "artefacts": {}}
        for name, seed in runs
    ]
    sheet = {"stream": "s", "root": root, "tasks": ["t"], "config": {}, "runs": entries}
    artifacts.write_json("runs", file, {**sheet, "provenance": {}})


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Results of a stream with a sweep over it."""
    root = tmp_path / "results/s"
    write_sheet(root / "runs.json", ".", [("dmole", 1), ("dmole", 2), ("seq_ft", 2)])
    write_sheet(root / "sweeps/budget/runs.json", "../..", [("half", 1)])
    (root / "seed2/seq_ft/predictions").mkdir(parents=True)
    (root / "seed2/dmole").mkdir()
    return root


@pytest.mark.parametrize(
    ("path", "name", "seed", "found"),
    [
        ("", None, None, ("dmole", 1)),
        ("runs.json", None, None, ("dmole", 1)),
        ("", "seq_ft", None, ("seq_ft", 2)),
        ("", None, 2, ("dmole", 2)),
        ("seed2", None, None, ("dmole", 2)),
        ("seed2/dmole", None, None, ("dmole", 2)),
        ("seed2/seq_ft/predictions", None, None, ("seq_ft", 2)),
        ("seed2/seq_ft", "dmole", 1, ("dmole", 1)),  # what is said goes before the folder
        ("sweeps/budget", None, None, ("half", 1)),
    ],
)
def test_which_run(stream: Path, path: str, name, seed, found) -> None:
    _, run = find_run(stream / path, name, seed)
    assert (run.name, run.seed) == found


def test_from_within_the_folder(stream: Path, monkeypatch) -> None:
    monkeypatch.chdir(stream / "seed2/seq_ft")
    assert find_run(Path())[1].name == "seq_ft"
    monkeypatch.chdir(stream.parent)
    assert find_run(Path("s/seed2"))[1].seed == 2


@pytest.mark.parametrize(
    ("path", "name", "seed", "told"),
    [
        ("seed9", None, None, "seed9: no such file or folder"),
        ("..", None, None, "holds runs.json"),
        ("", "dmol", None, "unknown run 'dmol'. Did you mean 'dmole'"),
        ("", "seq_ft", 1, "seq_ft was not run under seed 1"),
        ("", None, 0, "dmole was not run under seed 0"),
    ],
)
def test_what_is_refused(stream: Path, path: str, name, seed, told: str) -> None:
    with pytest.raises(InputError) as raised:
        find_run(stream / path, name, seed)
    assert told in str(raised.value)

"""What tables and pictures call tasks and methods: the run sheet holds it."""

import shutil
from pathlib import Path

import pytest

from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.runs.checks import check_runs
from stages.core.runs.run_sheet import labels_of, sources_of
from stages.core.runs.runs import Runs
from stages.methods.base import Method

TINY = Path(__file__).parents[2] / "data/tiny"
TASKS = ["tiny_caption", "tiny_choice", "tiny_ground"]


def runs(folder: Path, **labels: str) -> Runs:
    """The tiny stream with these labels in its manifests."""
    for task in TASKS:
        shutil.copy(TINY / f"{task}.yaml", folder)
    for task, label in labels.items():
        file = folder / f"{task}.yaml"
        file.write_text(f"label: '{label}'\n{file.read_text()}")
    config = {"stream": "tiny", "manifests": str(folder), "tasks": TASKS, "backbone": {"path": "b"}}
    config["methods"] = ["dmole", "seq_ft", "half"]
    config["variants"] = {"half": {"method": "dmole", "set": {"budget.ratio": 0.25}}}
    return Runs(complete(config, "test"))


def test_labels_are_those_of_manifests_and_methods(tmp_path: Path) -> None:
    assert labels_of(runs(tmp_path, tiny_choice="Tiny: choices")) == {
        "tasks": {"tiny_choice": "Tiny: choices"},
        "methods": {"dmole": "D-MoLE", "seq_ft": "Sequential LoRA"},
    }


@pytest.mark.parametrize(
    "labels", [{"tiny_choice": "X", "tiny_ground": "X"}, {"tiny_choice": "tiny_ground"}]
)
def test_labels_must_differ(tmp_path: Path, labels: dict[str, str]) -> None:
    with pytest.raises(InputError, match="tiny_choice and tiny_ground: both have the label"):
        check_runs(runs(tmp_path, **labels))


def test_a_method_without_label_goes_by_its_name() -> None:
    class Plain(Method):
        """Inherits all but the label."""

    assert Plain.label == Plain.name == "test_labels"


def test_the_sheet_says_where_data_come_from(tmp_path: Path) -> None:
    file = tmp_path / "tiny_choice.yaml"
    made = runs(tmp_path, tiny_choice="Choices")
    said = "source: {name: Shapes, version: '2', licence: MIT, url: 'https://example.org'}\n"
    lines = file.read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("source:"))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    file.write_text("".join([*lines[:start], said, *lines[end:]]))
    found = sources_of(made)
    assert list(found) == TASKS
    assert found["tiny_choice"] == {"name": "Shapes", "version": "2", "licence": "MIT"}

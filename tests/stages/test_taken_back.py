"""An expert that a training would only make again is taken back, in no time: no backbone is loaded.
Whatever it depends on trains anew. (Answers: test_unfinished_predictions.py.)"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import train_expert
from stages.core.backbone import load
from stages.core.base import artifacts
from stages.core.base.before import aside, move_aside
from tests.helpers.decisions import allocation, transfer
from tests.stages.test_train_expert import TASK, used

PARENT, CHILD = "tiny_caption", "tiny_choice"
SLOTS = [
    {"tower": "llm", "block": 1, "slot": "o", "score": 1.0, "order": 1, "allocated": True}
    | {"trainable_parameters": 0}
]


class LoadedError(Exception):
    """The backbone was about to be loaded."""


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise LoadedError

    monkeypatch.setattr(load, "load_backbone", refuse)


class Child:
    """A task's expert, learnt beside its parent's, and the files behind it."""

    def __init__(self, folder: Path, backbone: Path) -> None:
        self.folder, self.backbone = folder, backbone
        self.config = used(epochs=1)
        self.config |= {"transfer": {"learning_rate_factor": 1.0, "accept": "always"}}
        self.tasks, self.seed = [PARENT, CHILD], 0

    def train(self, task: str = CHILD, *states: Path) -> Path:
        """By the command line."""
        out = self.folder / "experts" / task
        argv = ["--method", "dmole", "--task", task, "--seed", str(self.seed)]
        argv += ["--tasks", *self.tasks[: self.tasks.index(task) + 1]]
        argv += ["--data", str(self.folder / f"{task}.parquet"), "--backbone", str(self.backbone)]
        argv += ["--allocation", str(self.folder / f"{task}.allocation.json"), "--out", str(out)]
        argv += ["--transfer", str(self.folder / f"{task}.transfer.json"), "--states"]
        argv += [*map(str, states), "--config", json.dumps(self.config)]
        train_expert.main([*argv, "--checkpoints", str(self.folder / "checkpoints")])
        return out

    def again(self) -> Path:
        """The same job, as Snakemake starts it."""
        move_aside([self.folder / "experts" / CHILD], None)
        return self.train(CHILD, self.folder / "experts" / PARENT)

    def edit(self, name: str, change: Callable[[dict], object]) -> None:
        file = self.folder / name
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def learnt(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parent and child, trained."""
    from tests.conftest import make_row

    folder = tmp_path_factory.mktemp("learnt")
    rows = [make_row(i, "Why?", "So.") for i in range(4)]
    for task, parent in ((PARENT, None), (CHILD, PARENT)):
        named = TASK | {"name": task}
        artifacts.write_table("data", folder / f"{task}.parquet", rows, task=named, provenance={})
        for name, content in (
            ("allocation", allocation(task, *SLOTS)),
            ("transfer", transfer(task, parent)),
        ):
            (folder / f"{task}.{name}.json").write_text(json.dumps(content))
    child = Child(folder, tiny_folder)
    child.train(CHILD, child.train(PARENT))
    return folder


@pytest.fixture
def child(learnt: Path, tiny_folder: Path, tmp_path: Path) -> Iterator[Child]:
    yield Child(Path(shutil.copytree(learnt, tmp_path / "learnt")), tiny_folder)


def test_an_expert_is_taken_back(child: Child, no_backbone: None, capsys: Any) -> None:
    """Also where its folder bears Snakemake's time stamp, and the choice of its parent was made
    again with the same outcome."""
    weights = child.folder / "experts" / CHILD / "adapter_model.safetensors"
    before = weights.read_bytes(), weights.stat().st_mtime_ns
    (weights.parent / ".snakemake_timestamp").touch()
    child.edit(f"{CHILD}.transfer.json", lambda choice: choice.update(losses={PARENT: 0.75}))
    out = child.again()
    assert (weights.read_bytes(), weights.stat().st_mtime_ns) == before
    assert "of the same inputs, settings and code; kept" in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == [PARENT, CHILD]


def other_parent(child: Child) -> None:
    folder = child.folder / "experts" / PARENT
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")


EDITS: dict[str, Callable[[Child], object]] = {
    "setting": lambda child: child.config["training"].update(learning_rate=0.5),
    "seed": lambda child: setattr(child, "seed", 1),
    "order": lambda child: setattr(child, "tasks", [PARENT, "another", CHILD]),
    "allocation": lambda child: child.edit(
        f"{CHILD}.allocation.json", lambda content: content.update(budget=1)
    ),
    "parent's expert": other_parent,
    "the expert itself": lambda child: child.edit(
        f"experts/{CHILD}/training.json", lambda content: content.update(rows=5)
    ),
    "a file of it lost": lambda child: (
        child.folder / "experts" / CHILD / "training.json"
    ).unlink(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_trains_again(
    child: Child, no_backbone: None, edit: Callable[[Child], object]
) -> None:
    edit(child)
    with pytest.raises(LoadedError):
        child.again()
    assert aside(child.folder / "experts" / CHILD).is_dir()  # for the next attempt

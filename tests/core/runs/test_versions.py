"""Artefacts that other library versions made are counted."""

import json
from collections import Counter
from importlib import metadata
from pathlib import Path

from stages.core.base.config import complete
from stages.core.runs.runs import Runs
from stages.core.runs.versions import LIBRARIES, other_versions, told

CONFIG = {
    "stream": "tiny",
    "manifests": "tests/data/tiny",
    "tasks": ["tiny_caption", "tiny_choice", "tiny_ground"],
    "methods": ["seq_ft"],
    "backbone": {"path": "none"},
}


def expert(root: Path, task: str, **versions: str) -> None:
    folder = root / "seed0/seq_ft/experts" / task
    folder.mkdir(parents=True)
    now = {name: metadata.version(name) for name in LIBRARIES}
    (folder / "provenance.json").write_text(json.dumps({"versions": now | versions}))


def test_other_versions_are_counted_and_other_builds_are_not(tmp_path: Path) -> None:
    torch = metadata.version("torch").partition("+")[0]
    expert(tmp_path, "tiny_caption", torch="1.0", peft="0.1")
    expert(tmp_path, "tiny_choice", torch="1.0")
    expert(tmp_path, "tiny_ground", torch=f"{torch}+some")
    found = other_versions(Runs(complete(CONFIG, "test")), tmp_path)
    assert found == {
        "torch 1.0": Counter(train_expert=2),
        "peft 0.1": Counter(train_expert=1),
    }
    said = told(found)
    assert "torch 1.0 (now " in said
    assert "2 of train_expert" in said
    assert said.endswith("to make them again: --forcerun train_expert")


def test_nothing_to_say(tmp_path: Path) -> None:
    expert(tmp_path, "tiny_caption")
    (tmp_path / "seed0/seq_ft/experts/tiny_choice").mkdir()  # without provenance
    assert told(other_versions(Runs(complete(CONFIG, "test")), tmp_path)) == ""

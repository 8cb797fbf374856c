"""An exported folder that was edited, damaged or put on the hub; what it lacks is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.model.continual import ContinualModel
from stages.core.model.exported import ROUTERS
from stages.core.runs.find_run import find_run
from stages.tools import cmit
from stages.tools.export import export

SHA = "0123456789" * 4
EXPERT = "experts/tiny_choice/adapter_model.safetensors"


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name in ("dmole", "seq_ft"):
        export(*find_run(small_run, name), folder / name)
    return folder


def test_an_export_says_what_it_lacks(small_run, exported, tmp_path) -> None:
    with pytest.raises(InputError, match="no expert of tiny_caption.*after the last step"):
        ContinualModel.load(exported / "seq_ft", 1)
    with pytest.raises(InputError, match="exported of method seq_ft, not dmole"):
        ContinualModel.load(exported / "seq_ft", method="dmole")
    broken = shutil.copytree(exported / "dmole", tmp_path / "broken")
    notes = json.loads((broken / "model.json").read_text())
    del notes["routers"]["tiny_choice"]
    (broken / "model.json").write_text(json.dumps(notes))
    with pytest.raises(InputError, match="no router of tiny_choice"):
        ContinualModel.load(broken)


@pytest.mark.parametrize("file", [EXPERT, "experts/tiny_choice/adapter_config.json", ROUTERS])
@pytest.mark.parametrize("change", ["one bit", "cut", "gone"])
def test_a_file_of_an_export_that_is_not_as_it_was(exported, tmp_path, capsys, file, change):
    """A bit of a weight, which safetensors would read without a word; half a download; none."""
    folder = shutil.copytree(exported / "dmole", tmp_path / "given")
    content = bytearray((folder / file).read_bytes())
    content[-5] ^= 1
    (folder / file).write_bytes(content[: len(content) // 2] if change == "cut" else content)
    if change == "gone":
        (folder / file).unlink()
    with pytest.raises(SystemExit):
        cmit.main(["ask", str(folder), "image.png", "What?"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    told = "missing" if change == "gone" else "changed since it was exported"
    assert f"{folder / file}: {told}" in error


@pytest.fixture
def hub(exported, tmp_path, monkeypatch) -> None:
    """A cache that has two repositories, as a download leaves it; there is no network."""
    for name, folder in (("tiny", exported / "seq_ft"), ("other", exported / "seq_ft/experts")):
        place = tmp_path / f"cache/models--someone--{name}"
        shutil.copytree(folder, place / "snapshots" / SHA)
        (place / "refs").mkdir()
        (place / "refs/main").write_text(SHA)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["hf:someone/tiny", f"hf:someone/tiny@{SHA}"])
def test_an_export_on_the_hub(small_run, exported, hub, name: str) -> None:
    table = artifacts.read_table("data", small_run / "data/tiny_choice/test.parquet")
    rows = table.to_pylist()[:2]
    asked = [(row["images"][0]["bytes"], row["turns"][0]["question"]) for row in rows]
    found = ContinualModel.load(name).ask_many(asked)
    assert found == ContinualModel.load(exported / "seq_ft").ask_many(asked)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hf:someone/other", "hf:someone/other: holds no model.json"),
        ("hf:someone/tiny@abc", "hf:someone/tiny@abc: Cannot find an appropriate cached snapshot"),
        ("hf:not a name", "hf:not a name: Repo id must use alphanumeric"),
        ("hf:", "hf:: Repo id must"),
    ],
)
def test_what_the_hub_has_not(hub, capsys, name: str, told: str) -> None:
    with pytest.raises(SystemExit):
        cmit.main(["ask", name, "image.png", "What?"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"error: {told}")


def test_the_sums_are_those_of_the_files(exported) -> None:
    notes = json.loads((exported / "dmole/model.json").read_text())
    files = [p for p in (exported / "dmole").rglob("*") if p.is_file()]
    own = {"README.md", "model.json", "config.yaml"}
    assert notes["files"] == {
        str(p.relative_to(exported / "dmole")): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.name not in own
    }


def test_hidden_files_stay_where_they_are(small_run, tmp_path) -> None:
    """Snakemake leaves one in every folder that is an output."""
    root = shutil.copytree(small_run, tmp_path / "run")
    (root / "seed0/seq_ft/experts/tiny_ground/.snakemake_timestamp").touch()
    export(*find_run(root, "seq_ft"), tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.parametrize(
    ("keys", "value", "told"),
    [
        (["tasks"], ["../../elsewhere"], "tasks.0: '../../elsewhere' does not match"),
        (["method"], "dmol", "unknown method 'dmol'. Did you mean 'dmole'"),
        (["config", "routing", "second"], "best", "config.routing.second: 'best' is not one of"),
        (["config", "backbone", "max_tiles"], 0, "config.backbone.max_tiles"),
        (["limits", "tiny_choice"], {"max_new_tokens": 2}, "'min_new_tokens' is a required"),
    ],
)
def test_a_faulty_edit_of_an_export_is_named(exported, tmp_path, keys, value, told) -> None:
    folder = shutil.copytree(exported / "dmole", tmp_path / "edited")
    place = content = json.loads((folder / "model.json").read_text())
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        ContinualModel.load(folder)
    assert told in str(raised.value)

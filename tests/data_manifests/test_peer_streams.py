"""Every stream of the field: five rows of each task are checked and prepared."""

import re
from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.data.manifests import load_manifest
from stages.prepare_data import prepare_data
from stages.tools.check_data import check_data
from tests.helpers import cmit_tree, peer_trees

ROOT = Path(__file__).parents[2]
TASKS = [(stream, task) for stream in peer_trees.STREAMS for task in peer_trees.tasks(stream)]
ALL = [*TASKS, *(("cmit", task) for task in cmit_tree.TASKS)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The data root with five rows of all 45 tasks."""
    root = tmp_path_factory.mktemp("streams")
    cmit_tree.write_tree(root, rows=5)
    for stream in peer_trees.STREAMS:
        peer_trees.write_stream(root, stream)
    return root


def manifest(stream: str, task: str, root: Path):
    return load_manifest(ROOT / "data_manifests" / stream / f"{task}.yaml", root)


def test_there_are_all_tasks_of_the_field() -> None:
    counts = {stream: len(peer_trees.tasks(stream)) for stream in peer_trees.STREAMS}
    sizes = (8, 6, 5, 4, 10, 3)
    assert counts == dict(zip(peer_trees.STREAMS, sizes, strict=True))
    assert len(ALL) == 45
    for stream in peer_trees.STREAMS:
        files = {path.stem for path in (ROOT / "data_manifests" / stream).glob("*.yaml")}
        assert files == set(peer_trees.tasks(stream))


@pytest.mark.parametrize(("stream", "task"), ALL)
def test_five_rows_are_sound_and_their_targets_score(stream, task, data, capsys) -> None:
    check_data(manifest(stream, task, data), 10_000)
    said = capsys.readouterr().out
    assert re.findall(r"(\w+): sound. (\d+) rows", said) == [("train", "5"), ("test", "5")]
    assert "is not right" not in said


@pytest.mark.parametrize(("stream", "task"), ALL)
def test_five_rows_are_prepared(stream, task, data, tmp_path) -> None:
    for split in ("train", "test"):
        out = tmp_path / f"{split}.parquet"
        prepare_data(manifest(stream, task, data), split, 10_000, out)
        assert len(artifacts.read_table("data", out)) == 5


def test_prompts_stay_as_the_files_write_them(data, tmp_path) -> None:
    def asked(stream: str, task: str) -> list[dict]:
        prepare_data(manifest(stream, task, data), "test", 10_000, tmp_path / "x.parquet")
        return artifacts.read_table("data", tmp_path / "x.parquet").to_pylist()

    assert asked("coin", "scienceqa")[0]["turns"][0]["question"] == peer_trees.LETTERED
    assert asked("coin", "scienceqa")[0]["choices"] == ["cat", "dog", "cow"]
    assert asked("coin", "grounding")[0]["turns"][0]["answer"] == "[0.25,0.40,0.70,0.65]"
    assert asked("mllm_dcl", "med")[0]["turns"][0]["question"].endswith(
        "phrase. Answer the question with a single word (or phrase)."
    )
    endings = [row["turns"][0]["question"][-11:] for row in asked("mllm_dcl", "fin")]
    assert endings == ["o directly.", "A, B, C, D."] * 2 + ["A, B, C, D."]
    assert asked("ucit", "flickr30k")[4]["references"] == [
        "Caption 5.",
        "A plain picture number 4.",
    ]

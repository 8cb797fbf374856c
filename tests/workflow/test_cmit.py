"""The paper's configuration end to end: the nine published layouts, a few rows each, and a small
random InternVL in place of the 2B model."""

import shutil
from pathlib import Path

import pytest
import yaml

from stages.core.base import artifacts
from tests.helpers import cmit_tree
from tests.helpers.project import Project

# One process per job, since there is no GPU here, and few steps; everything else is the paper's.
SMALL = {
    "methods": ["dmole"],
    "gpus": {"training": 1, "inference": 1},
    "subset": {"min_samples": 2},
    "router": {"epochs": 1, "min_steps": 4, "hidden": 4},
    "threshold": {"folds": 2},
    "score": {"bootstrap": 10},
}


@pytest.mark.slow
def test_the_nine_tasks_run_from_their_published_files_to_the_scores(
    fresh: Project, tiny_folder: Path, tmp_path: Path
) -> None:
    project = fresh.copy(tmp_path / "project")
    cmit_tree.write_tree(tmp_path / "mine")
    shutil.copytree(tiny_folder, project.folder / "models/small")
    config = yaml.safe_load((project.folder / "workflow/config/cmit.yaml").read_text())
    config["backbone"] |= {"path": "models/small", "dtype": "float32"}
    for own in config["training"]["per_task"].values():
        own["epochs"] = 1
    project.config = "small.yaml"
    content = config | SMALL | {"data_root": str(tmp_path / "mine")}
    (project.folder / project.config).write_text(yaml.safe_dump(content))

    done = project.snakemake("--show-failed-logs", timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr

    results = project.folder / "results/cmit"
    scores = artifacts.read_table("scores", results / "scores.parquet").to_pylist()
    cells = {(row["step"], row["task"]) for row in scores}
    assert cells == {(stage, task) for stage in range(10) for task in cmit_tree.TASKS}
    found = {row["task"]: row["metric"] for row in scores}
    captions = dict.fromkeys(["vizwiz_caption", "textcaps", "flickr30k"], "cider")
    choices = dict.fromkeys(["iconqa", "pmcvqa"], "choice")
    short = dict.fromkeys(["ocrvqa", "kvqa"], "accuracy")
    assert found == captions | choices | short | {"skvg": "iou", "vizwiz": "textvqa"}
    asked = artifacts.read_table("data", results / "data/ocrvqa/train.parquet").to_pylist()
    assert [len(row["turns"]) for row in asked] == [2, 2, 2]

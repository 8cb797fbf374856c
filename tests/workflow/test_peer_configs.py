"""The configurations of other benchmarks, with each of the three backbones."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import complete
from stages.core.runs.checks import check_runs
from stages.core.runs.runs import Runs
from tests.helpers import peer_trees
from tests.helpers.project import Project

FOLDER = Path("workflow/config")
BACKBONES = sorted((FOLDER / "backbones").glob("*.yaml"))


@pytest.mark.parametrize("stream", peer_trees.STREAMS)
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda path: path.stem)
def test_a_stream_takes_every_backbone(stream: str, backbone: Path) -> None:
    config = yaml.safe_load((FOLDER / f"{stream}.yaml").read_text())
    config["backbone"] |= yaml.safe_load(backbone.read_text())["backbone"]
    check_runs(Runs(complete(config, stream)))
    assert config["backbone"]["path"] == f"models/{backbone.stem}"
    assert f"`{stream}.yaml`" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize(("stream", "backbone"), [("coin", "qwen2.5-vl-3b"), ("mllm_acl", None)])
def test_a_stream_dry_runs_without_data_and_backbone(
    stream: str, backbone: str | None, fresh: Project
) -> None:
    project = Project(fresh.folder)
    project.config = f"workflow/config/{stream}.yaml"
    project.more = [f"workflow/config/backbones/{backbone}.yaml"] if backbone else []
    jobs = project.plan()
    found, n = Counter(job.rule for job in jobs), len(peer_trees.tasks(stream))
    assert (found["prepare_data"], found["train_expert"], found["predict"]) == (2 * n, 2 * n, 2 * n)
    order = [job.task for job in jobs if (job.rule, job.scope) == ("train_expert", "seed0/seq_ft")]
    assert order == peer_trees.tasks(stream)

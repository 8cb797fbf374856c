"""Files of the configuration in place of what a stage decides: which jobs run, and what again."""

import json
from pathlib import Path

import pytest
import yaml

from tests.helpers.decisions import allocation, router, transfer
from tests.helpers.project import Project

SUMMARY = {"score", "compare", "report"}


@pytest.fixture(scope="module")
def taken(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A pretended run of D-MoLE with one override of each kind, all of `tiny_ground`."""
    project = fresh.copy(tmp_path_factory.mktemp("taken") / "project")
    config = yaml.safe_load((project.folder / project.config).read_text())
    files = {name: f"mine/{name}.json" for name in ("allocation", "router", "transfer")}
    overrides = {name: {"tiny_ground": file} for name, file in files.items()}
    config |= {"methods": ["dmole"], "variants": {}, "overrides": overrides}
    project.config = "taken.yaml"
    (project.folder / project.config).write_text(yaml.safe_dump(config))
    (project.folder / "mine").mkdir()
    content = {
        "transfer": transfer("tiny_ground", "tiny_choice"),
        "router": router("tiny_ground"),
        "allocation": allocation("tiny_ground"),
    }
    for name, file in files.items():
        (project.folder / file).write_text(json.dumps(content[name]))
    project.pretend()
    assert project.plan() == []
    return project


def jobs_after(taken: Project, folder: Path, name: str, **change: object) -> set[tuple[str, str]]:
    project = taken.copy(folder / "project")
    project.config = taken.config
    file = project.folder / f"mine/{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return {(job.rule, job.task) for job in project.plan() if job.rule not in SUMMARY}


def test_the_stages_that_would_decide_are_not_run(taken: Project) -> None:
    jobs = {(job.rule, job.task) for job in taken.plan("--forceall")}
    assert ("take_override", "tiny_ground") in jobs
    assert ("allocate_experts", "tiny_choice") in jobs
    assert ("allocate_experts", "tiny_ground") not in jobs
    assert ("choose_parent", "tiny_ground") not in jobs
    assert ("fit_router", "tiny_ground") in jobs  # its autoencoder is in use


def test_a_parent_from_a_file_is_trained_beside(taken: Project) -> None:
    (command,) = (
        c for c in taken.commands("train_expert") if "tiny_ground" in c[c.index("--task") + 1]
    )
    states = command[command.index("--states") + 1 :]
    assert states[0] == "results/tiny/seed0/dmole/experts/tiny_choice"
    assert "results/tiny/seed0/transfers/tiny_ground.override.json" in command
    assert "results/tiny/seed0/allocations/tiny_ground.override.json" in command


def test_another_threshold_reruns_routing_alone(taken: Project, tmp_path: Path) -> None:
    jobs = jobs_after(taken, tmp_path, "router", threshold=2.5)
    assert {rule for rule, _ in jobs} == {"take_override", "route_samples", "predict"}


def test_another_allocation_reruns_its_expert_alone(taken: Project, tmp_path: Path) -> None:
    jobs = jobs_after(taken, tmp_path, "allocation", total_slots=1)
    assert {task for rule, task in jobs if rule == "train_expert"} == {"tiny_ground"}
    assert {rule for rule, _ in jobs} == {"take_override", "train_expert", "predict"}


def test_another_parent_reruns_its_expert_alone(taken: Project, tmp_path: Path) -> None:
    jobs = jobs_after(taken, tmp_path, "transfer", parent="tiny_caption")
    assert {task for rule, task in jobs if rule == "train_expert"} == {"tiny_ground"}


def test_an_override_that_makes_no_sense_ends_at_once(taken: Project, tmp_path: Path) -> None:
    project = taken.copy(tmp_path / "project")
    project.config = taken.config
    file = project.folder / "mine/transfer.json"
    file.write_text(file.read_text().replace('"parent": "tiny_choice"', '"parent": "tiny_ground"'))
    done = project.snakemake("-n")
    assert done.returncode == 1
    assert "error: overrides.transfer.tiny_ground: mine/transfer.json: parent:" in done.stdout

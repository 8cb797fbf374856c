"""Which jobs there are and what they wait for, on a fresh tree and with hand-made transfers."""

import re
from collections import Counter

import pytest
import yaml

from tests.workflow.project import PARENTS, Project

TASKS = list(PARENTS)


def reconfigured(project: Project, tmp_path, **changes: object) -> Project:
    """A project with another config; only its dry runs are looked at."""
    config = yaml.safe_load((project.folder / "workflow/config/tiny.yaml").read_text())
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config | changes))
    other = Project(project.folder)
    other.config = str(file)
    return other


def test_a_fresh_tree_has_each_job_once(fresh: Project) -> None:
    counts = Counter(job.rule for job in fresh.plan())
    assert counts == {
        "make_tiny_backbone": 1,
        "prepare_data": 6,
        "sample_subset": 3,
        "profile_gradients": 3,
        "allocate_experts": 3,
        "extract_features": 6,
        "fit_router": 3,
        "choose_parent": 3,
        "train_expert": 9,  # dmole, seq_ft, individual; the variant shares dmole's
        "route_samples": 15,
        "predict": 15,
        "score": 1,
        "report": 1,
    }


def test_methods_without_routers_cost_no_such_jobs(fresh: Project, tmp_path) -> None:
    project = reconfigured(fresh, tmp_path, methods=["seq_ft", "zero_shot"], variants={})
    rules = {job.rule for job in project.plan()}
    assert rules == {
        "make_tiny_backbone",
        "prepare_data",
        "train_expert",
        "route_samples",
        "predict",
        "score",
        "report",
    }


def test_without_transfer_no_parent_is_chosen_or_read(fresh: Project, tmp_path) -> None:
    project = reconfigured(
        fresh, tmp_path, methods=["dmole"], variants={}, transfer={"enabled": False}
    )
    jobs = project.plan()
    assert "choose_parent" not in {job.rule for job in jobs}
    trained = [job for job in jobs if job.rule == "train_expert"]
    assert len(trained) == 3
    assert not any("experts/" in path for job in trained for path in job.input)


def test_a_variant_owns_what_its_changes_affect_and_no_more(fresh: Project, tmp_path) -> None:
    variants = {
        "half": {"method": "dmole", "set": {"budget.ratio": 0.25}},
        "raw": {"method": "dmole", "set": {"features.normalize": False}},
    }
    project = reconfigured(fresh, tmp_path, methods=["half", "raw"], variants=variants)
    scopes = {(job.rule, job.scope) for job in project.plan()}
    own = {name: {rule for rule, scope in scopes if scope == f"seed0/{name}"} for name in variants}
    assert own["half"] == {"allocate_experts", "train_expert", "predict"}
    assert own["raw"] == {
        "extract_features",
        "fit_router",
        "choose_parent",
        "train_expert",
        "route_samples",
        "predict",
    }
    assert {rule for rule, scope in scopes if scope == "raw"} == {"extract_features"}
    assert {rule for rule, scope in scopes if scope == "seed0/dmole"} == {"route_samples"}


def test_sibling_tasks_train_without_waiting_for_each_other(pretended: Project) -> None:
    drawn = pretended.snakemake("--dag", "dot", "--forceall")
    assert drawn.returncode == 0, drawn.stderr
    nodes = dict(re.findall(r'^\s*(\d+)\[label = "(.*?)", color', drawn.stdout, re.M))
    edges = re.findall(r"^\s*(\d+) -> (\d+)$", drawn.stdout, re.M)
    trained = {
        number: re.search(r"scope: (\S+?)\\ntask: (\w+)", label).groups()
        for number, label in nodes.items()
        if label.startswith("train_expert")
    }
    assert len(trained) == 9
    waits = {(trained[a], trained[b]) for a, b in edges if a in trained and b in trained}
    caption, choice, ground = TASKS
    assert {(a, b) for (scope, a), (_, b) in waits if scope == "seed0/dmole"} == {
        (caption, choice),
        (caption, ground),
    }
    assert {(a, b) for (scope, a), (_, b) in waits if scope == "seed0/seq_ft"} == {
        (caption, choice),
        (choice, ground),
    }


def test_an_expert_reads_its_parents_expert_alone(finished: Project) -> None:
    finished.pretend_parent("tiny_ground", "tiny_choice")
    jobs = finished.plan()
    (job,) = [j for j in jobs if (j.rule, j.scope) == ("train_expert", "seed0/dmole")]
    assert job.task == "tiny_ground"
    states = [path for path in job.input if "/experts/" in path]
    assert states == ["results/tiny/seed0/dmole/experts/tiny_choice"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": ["dmoel"]},
            "methods: unknown method or variant 'dmoel'. Did you mean 'dmo",
        ),
        ({"tasks": ["tiny_choise"]}, "unknown task 'tiny_choise'. Did you mean 'tiny_choice'"),
        ({"budgte": {}}, "unknown key 'budgte'. Did you mean 'budget'"),
        ({"budget": {"ratio": 1.5}}, "budget.ratio: 1.5 is greater than the maximum of 1"),
        ({"backbone": {"path": "models/none"}}, "backbone.path: there is no folder 'models/none'"),
    ],
)
def test_bad_input_ends_before_the_first_job(
    fresh: Project, tmp_path, changes: dict, message: str
) -> None:
    done = reconfigured(fresh, tmp_path, **changes).snakemake()
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.folder / "results").exists()

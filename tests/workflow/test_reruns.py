"""What an edit runs again: the stages that import or read what was edited, and what follows."""

import shutil
from pathlib import Path

import pytest

from tests.helpers.project import Project


def ran(project: Project) -> set[tuple[str, str, str]]:
    return {(job.rule, job.scope, job.task) for job in project.plan()}


def rules(project: Project) -> set[str]:
    return {job.rule for job in project.plan()}


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_nothing_to_do_after_a_run(pretended: Project) -> None:
    assert pretended.plan() == []


def test_editing_the_routing_code_reruns_no_training(finished: Project) -> None:
    with (finished.folder / "stages/core/dmole/routing.py").open("a") as code:
        code.write("\nCHANGED = 1\n")
    assert rules(finished) == {"route_samples", "predict", "score", "report"}


def test_editing_a_comment_or_docstring_reruns_nothing(finished: Project) -> None:
    with (finished.folder / "stages/core/dmole/routing.py").open("a") as code:
        code.write("\n# a remark\n")
    edit(finished.folder / "stages/methods/dmole.py", '"""', '"""Also: ')
    assert rules(finished) == set()


def test_editing_one_method_leaves_the_others(finished: Project) -> None:
    with (finished.folder / "stages/methods/individual.py").open("a") as code:
        code.write("\nCHANGED = 1\n")
    jobs = ran(finished)
    assert {rule for rule, _, _ in jobs} == {
        "train_expert",
        "route_samples",
        "predict",
        "score",
        "report",
    }
    assert {scope for rule, scope, _ in jobs if scope} == {"seed0/individual"}


def test_editing_a_threshold_reruns_routing_and_what_follows(finished: Project) -> None:
    router = finished.folder / "results/tiny/seed0/routers/tiny_choice.json"
    router.write_text("{}")
    jobs = ran(finished)
    assert {rule for rule, _, _ in jobs} == {"route_samples", "predict", "score", "report"}
    assert {scope for _, scope, _ in jobs if scope} == {"seed0/dmole", "seed0/rank_routing"}


def test_a_deleted_expert_is_trained_again_with_its_descendants_only(fresh, tmp_path) -> None:
    project = fresh.copy(tmp_path / "project")
    project.pretend(tiny_ground="tiny_choice")
    shutil.rmtree(project.folder / "results/tiny/seed0/dmole/experts/tiny_choice")
    trained = {(scope, task) for rule, scope, task in ran(project) if rule == "train_expert"}
    assert trained == {("seed0/dmole", "tiny_choice"), ("seed0/dmole", "tiny_ground")}


def test_a_deleted_expert_does_not_touch_its_siblings(finished: Project) -> None:
    shutil.rmtree(finished.folder / "results/tiny/seed0/dmole/experts/tiny_choice")
    jobs = ran(finished)
    assert {(scope, task) for rule, scope, task in jobs if rule == "train_expert"} == {
        ("seed0/dmole", "tiny_choice")
    }
    assert {rule for rule, _, _ in jobs} == {"train_expert", "predict", "score", "report"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "max_tiles: 2",
            "max_tiles: 2\nprediction: {batch_size: 3}",
            {"predict_backbone", "predict"},
        ),
        (
            "router: {hidden: 8",
            "budget: {modality: even}\nrouter: {hidden: 8",
            {"allocate_experts", "train_expert", "predict"},
        ),
    ],
)
def test_a_config_key_reruns_the_stages_that_read_it(
    finished: Project, old: str, new: str, expected: set[str]
) -> None:
    edit(finished.folder / finished.config, old, new)
    assert rules(finished) == expected | {"score", "report"}

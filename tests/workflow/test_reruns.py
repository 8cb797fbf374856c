"""What an edit runs again: the stages that import or read what was edited, and what follows."""

import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import decisions
from tests.helpers.project import SOURCE, Project


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
    assert rules(finished) == {"route_samples", "predict", "score", "compare", "report"}


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
        "compare",
        "report",
    }
    assert {scope for rule, scope, _ in jobs if scope} == {"seed0/individual"}


def test_editing_a_threshold_reruns_routing_and_what_follows(finished: Project) -> None:
    router = finished.folder / "results/tiny/seed0/routers/tiny_choice.json"
    router.write_text(json.dumps(decisions.router("tiny_choice") | {"threshold": 2.0}))
    jobs = ran(finished)
    assert {rule for rule, _, _ in jobs} == {
        "route_samples",
        "predict",
        "score",
        "compare",
        "report",
    }
    assert {scope for _, scope, _ in jobs if scope} == {"seed0/dmole", "seed0/rank_routing"}


def test_editing_an_allocation_reruns_the_experts_of_dmole_alone(fresh, tmp_path) -> None:
    project = fresh.copy(tmp_path / "project")
    project.pretend(tiny_ground="tiny_choice")
    edited = decisions.allocation("tiny_choice") | {"budget": 1}
    file = project.folder / "results/tiny/seed0/allocations/tiny_choice.json"
    file.write_text(json.dumps(edited))
    trained = {(scope, task) for rule, scope, task in ran(project) if rule == "train_expert"}
    assert trained == {("seed0/dmole", "tiny_choice"), ("seed0/dmole", "tiny_ground")}
    assert not rules(project) & {"allocate_experts", "match_size"}


def test_a_task_added_at_the_end_reruns_no_training(fresh: Project, tmp_path: Path) -> None:
    project = fresh.copy(tmp_path / "project")
    config, whole = project.folder / "workflow/config/tiny.yaml", "tiny_choice, tiny_ground]"
    edit(config, whole, "tiny_choice]")
    edit(config, "methods: [dmole, ", "methods: [dmole, joint, dense_mole, ")
    project.pretend()
    edit(config, "tiny_choice]", whole)
    trained = {(scope, task) for rule, scope, task in ran(project) if rule == "train_expert"}
    methods = ("dmole", "joint", "dense_mole", "seq_ft", "individual")
    assert trained == {(f"seed0/{method}", "tiny_ground") for method in methods}


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
    assert {rule for rule, _, _ in jobs} == {
        "train_expert",
        "predict",
        "score",
        "compare",
        "report",
    }


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
            {"allocate_experts", "match_size", "train_expert", "predict"},
        ),
    ],
)
def test_a_config_key_reruns_the_stages_that_read_it(
    finished: Project, old: str, new: str, expected: set[str]
) -> None:
    edit(finished.folder / finished.config, old, new)
    assert rules(finished) == expected | {*LISTED, "score", "compare", "report"}


def test_another_number_of_shards_reruns_no_finished_prediction(finished: Project) -> None:
    """Neither what one job has made nor what several have."""
    made = "results/tiny/seed0/seq_ft/predictions/tiny_ground.parquet"
    (finished.folder / made).unlink()
    edit(finished.folder / finished.config, "max_tiles: 2", "max_tiles: 2\nprediction: {shards: 2}")
    assert Counter(job.rule for job in finished.plan(made)) == {"predict": 1, "predict_shard": 2}
    finished.carry_on(made)
    for old, new in ("23", "31"):
        edit(finished.folder / finished.config, f"shards: {old}", f"shards: {new}")
        assert not any(rule.startswith("predict") for rule in rules(finished))


# --- the table: edit by edit, what runs again ---------------------------------------------------

METHODS = ("dmole", "seq_ft", "dense_mole", "zero_shot")
SUMMARY = {"score", "compare", "report"}
LISTED = {"list_runs", "measure_separability"}  # whatever changes the run sheet
TRAINED = {"train_expert", "predict"}
LEARNER = {"train_expert", "route_samples", "predict"}  # routes ask a method, which imports it
BEFORE_ROUTING = {"fit_router", "choose_parent", "train_expert", "route_samples", "predict"}
PREPARED = {"sample_subset", "profile_gradients", "allocate_experts", "extract_features"}
ANSWERS = {"predict_backbone", "predict"}


def code(file: str, text: str = "\nCHANGED = 1\n") -> tuple[str, str | None, str]:
    """An edit that adds code to a module."""
    return f"stages/{file}", None, text


def key(old: str, new: str) -> tuple[str, str, str]:
    """An edit of the configuration."""
    return "table.yaml", old, new


MACHINE = ("gpus", "loading processes")  # keys that say nothing of a run
TABLE = [  # edit; stages that run again; methods whose own jobs are among them
    ("a gate", code("core/experts/gates.py"), {*LEARNER, *SUMMARY}, {"dense_mole"}),
    (
        "the LoRA learner",
        code("core/experts/lora.py"),
        {*LEARNER, *SUMMARY},
        set(METHODS),
    ),
    ("decoding", code("core/backbone/decoding.py"), {*ANSWERS, *SUMMARY}, set(METHODS)),
    (
        "the autoencoder",
        code("core/dmole/autoencoder.py"),
        {*BEFORE_ROUTING, "measure_separability", *SUMMARY},
        {"dmole", "seq_ft", "dense_mole", "zero_shot"},
    ),
    ("the look of pictures", code("core/report/style.py"), {"compare", "report"}, set()),
    ("a score", code("core/evaluation/scores.py"), SUMMARY, set()),
    ("a remark", code("core/base/artifacts.py", "\n# a remark\n"), set(), set()),
    (
        "an error's wording",
        ("stages/core/base/yaml_files.py", "not valid YAML", "no valid YAML"),
        set(),
        set(),
    ),
    ("a docstring", ("stages/methods/dmole.py", '"""', '"""Also: '), set(), set()),
    (
        "a manifest",
        ("tests/data/tiny/tiny_choice.yaml", "Answer with the option", "Answer by the option"),
        {"prepare_data", *PREPARED, *BEFORE_ROUTING, *ANSWERS, "measure_separability", *SUMMARY},
        set(METHODS),
    ),
    (
        "a task's label",
        ("tests/data/tiny/tiny_choice.yaml", "name: tiny_choice", "label: Pick\nname: tiny_choice"),
        {*LISTED, *SUMMARY},
        set(),
    ),
    (
        "exif",
        key("stream: tiny", "image: {exif: ignore}\nstream: tiny"),
        {"prepare_data", "match_size", *PREPARED, *BEFORE_ROUTING, *ANSWERS, *SUMMARY},
        set(METHODS),
    ),
    (
        "training",
        key("checkpoint_steps: 2", "checkpoint_steps: 3"),
        {*TRAINED, *SUMMARY},
        {"dmole", "seq_ft", "dense_mole"},
    ),  # fmt: skip
    (
        "threshold",
        key("stream: tiny", "threshold: {factor: 1.2}\nstream: tiny"),
        {*BEFORE_ROUTING, *SUMMARY},
        {"dmole"},
    ),  # fmt: skip
    (
        "routing",
        key("stream: tiny", "routing: {threshold_scale: 2}\nstream: tiny"),
        {"route_samples", "predict", *SUMMARY},
        {"dmole"},
    ),  # fmt: skip
    (
        "a seed more",
        key("stream: tiny", "seeds: [0, 1]\nstream: tiny"),
        {"match_size", *PREPARED, *BEFORE_ROUTING, *SUMMARY},
        set(METHODS),
    ),
    (
        "a method more",
        key("zero_shot]", "zero_shot, individual]"),
        {"match_size", "route_samples", *TRAINED, *SUMMARY},
        {"individual"},
    ),
    (
        "the last task removed",
        key("tiny_choice, tiny_ground]", "tiny_choice]"),
        {"route_samples", "predict", *SUMMARY},
        set(METHODS),
    ),
    (
        "the last two tasks in another order",
        key("tiny_choice, tiny_ground]", "tiny_ground, tiny_choice]"),
        {"choose_parent", "route_samples", *TRAINED, *SUMMARY},
        set(METHODS),
    ),
    ("score", key("bootstrap: 50", "bootstrap: 60"), SUMMARY, set()),
    (
        "gpus",
        key("stream: tiny", "gpus: {training: 1, inference: 2, memory: 40}\nstream: tiny"),
        set(),
        set(),
    ),  # fmt: skip
    (
        "loading processes",
        key("stream: tiny", "loader: {workers: 3}\nstream: tiny"),
        set(),
        set(),
    ),  # fmt: skip
]


@pytest.fixture(scope="module")
def table(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A pretended run of four methods, a mixture among them."""
    project = fresh.copy(tmp_path_factory.mktemp("table") / "project")
    text = (project.folder / "workflow/config/tiny.yaml").read_text()
    before, after = text.partition("methods:")[0], text.partition("backbone:")[2]
    text = f"{before}methods: [{', '.join(METHODS)}]\nbackbone:{after}"
    (project.folder / "table.yaml").write_text(text)
    project.config = "table.yaml"
    project.pretend()
    assert project.plan() == []
    return project


@pytest.mark.parametrize(("name", "change", "stages", "methods"), TABLE, ids=[t[0] for t in TABLE])
def test_what_an_edit_runs_again(
    table: Project, tmp_path: Path, name: str, change: tuple, stages: set, methods: set
) -> None:
    project = table.copy(tmp_path / "project")
    project.config = "table.yaml"
    file, old, new = change
    if old is None:
        with (project.folder / file).open("a") as module:
            module.write(new)
    else:
        edit(project.folder / file, old, new)
    jobs = ran(project)
    listed = LISTED if file == "table.yaml" and name not in MACHINE else set()
    assert {rule for rule, _, _ in jobs} == stages | listed
    assert {scope.partition("/")[2] for _, scope, _ in jobs} - {""} == methods
    if name == "a seed more":
        assert {scope.partition("/")[0] for _, scope, _ in jobs} - {""} == {"seed1"}


def test_new_content_under_an_old_time_prepares_data_again(table: Project, tmp_path: Path) -> None:
    project = table.copy(tmp_path / "project")
    project.config = "table.yaml"
    file = project.folder / "tests/data/tiny/tiny_choice.parquet"
    before = file.stat()
    file.write_bytes(file.read_bytes() + b"\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    prepared = {task for rule, _, task in ran(project) if rule == "prepare_data"}
    assert prepared == {"tiny_choice"}


def test_the_page_on_reruns_says_the_same() -> None:
    """docs/reruns.md has a row for every edit of the table."""
    text = (SOURCE / "docs/reruns.md").read_text()
    rows = (line.strip("|").split("|") for line in text.splitlines() if line.startswith("| "))
    found = {row[0].strip(): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    for name, (file, _, _), stages, _ in TABLE:
        listed = LISTED if file == "table.yaml" and name not in MACHINE else set()
        assert found[name] == stages | listed, name

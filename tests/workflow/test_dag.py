"""Which jobs there are and what they wait for, on a fresh tree and with hand-made transfers."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import load_config
from stages.core.costs.shards import shards
from stages.core.runs.runs import Runs
from tests.helpers import cmit_tree
from tests.helpers.decisions import PARENTS, transfer
from tests.helpers.project import Project

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
        "match_size": 3,
        "extract_features": 6,
        "fit_router": 3,
        "choose_parent": 3,
        "train_expert": 9,  # dmole, seq_ft, individual; the variant shares dmole's
        "route_samples": 15,
        "predict_backbone": 3,
        "predict": 15,
        "list_runs": 1,
        "score": 1,
        "measure_separability": 1,
        "compare": 1,
        "report": 1,
    }


def test_shards_of_a_prediction_are_jobs_that_the_prediction_waits_for(
    fresh: Project, tmp_path
) -> None:
    changes = {"methods": ["individual"], "variants": {}, "prediction": {"shards": 3}}
    jobs = reconfigured(fresh, tmp_path, **changes).plan()
    counts = Counter(job.rule for job in jobs)
    assert (counts["predict"], counts["predict_shard"]) == (3, 9)
    assert (counts["predict_backbone"], counts["predict_backbone_shard"]) == (3, 9)
    for job in jobs:
        if job.rule.startswith("predict"):
            waited = [path for path in job.input if ".shard" in path]
            assert len(waited) == (0 if job.rule.endswith("_shard") else 3)


def test_the_number_of_shards_follows_from_the_hours(fresh: Project, tmp_path) -> None:
    """Eight times as many rows as four hours answer, by the formula of a billion rows."""
    changes = {
        "stream": "sharded",
        "methods": ["individual"],
        "variants": {},
        "tasks": ["tiny_caption"],
        "backbone": {"path": "models/internvl2-2b", "dtype": "float32", "max_tiles": 2},
        "prediction": {"shards": "auto"},
    }
    project = reconfigured(fresh, tmp_path, **changes, rows={"test": 10**9})
    runs = Runs(load_config(project.config))
    each = 10**9 / shards(runs, "predict_backbone", "", "tiny_caption")
    project = reconfigured(fresh, tmp_path, **changes, rows={"test": round(7.5 * each)})
    counts = Counter(job.rule for job in project.plan())
    assert (counts["predict_shard"], counts["predict_backbone_shard"]) == (8, 8)


def test_a_backbone_that_a_rule_makes_is_small(fresh: Project, tmp_path) -> None:
    project = reconfigured(fresh, tmp_path, methods=["individual"], prediction={"shards": "auto"})
    assert not any(job.rule.endswith("_shard") for job in project.plan())


def test_methods_without_routers_cost_no_such_jobs(fresh: Project, tmp_path) -> None:
    project = reconfigured(fresh, tmp_path, methods=["seq_ft", "zero_shot"], variants={})
    rules = {job.rule for job in project.plan()}
    assert rules == {
        "make_tiny_backbone",
        "prepare_data",
        "train_expert",
        "route_samples",
        "predict_backbone",
        "predict",
        "list_runs",
        "score",
        "measure_separability",
        "compare",
        "report",
    }


def test_without_transfer_no_parent_is_chosen_or_read(fresh: Project, tmp_path) -> None:
    project = reconfigured(
        fresh,
        tmp_path,
        methods=["dmole"],
        variants={},
        transfer={"enabled": False},
        routing={"second": "none"},
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


def waits(project: Project, scope: str) -> dict[str, list[str]]:
    """The experts that each training job of a run waits for."""
    jobs = project.plan("--forcerun", "train_expert")
    return {
        job.task: [Path(path).name for path in job.input if f"{scope}/experts/" in path]
        for job in jobs
        if (job.rule, job.scope) == ("train_expert", scope)
    }


def test_sibling_tasks_train_without_waiting_for_each_other(pretended: Project) -> None:
    caption, choice, ground = TASKS
    assert waits(pretended, "seed0/dmole") == {caption: [], choice: [caption], ground: [caption]}


def test_sequential_training_is_a_chain(pretended: Project) -> None:
    caption, choice, ground = TASKS
    assert waits(pretended, "seed0/seq_ft") == {caption: [], choice: [caption], ground: [choice]}


def test_snakemake_sleeps_until_a_job_ends(finished: Project) -> None:
    text = finished.carry_on("--forceall", "--verbose", "--cores", "1")
    decisions = text.count("Resources before job selection")
    # one at the start, one at each job's end; without our care about one more a second for each
    # job that has ended
    assert decisions <= text.count("Finished jobid") + 1


def test_an_edited_transfer_changes_whom_training_waits_for(finished: Project) -> None:
    edited = finished.folder / "results/tiny/seed0/transfers/tiny_ground.json"
    edited.write_text(json.dumps(transfer("tiny_ground", "tiny_choice")))
    jobs = [j for j in finished.plan() if j.rule == "train_expert"]
    assert [(job.scope, job.task) for job in jobs] == [("seed0/dmole", "tiny_ground")]
    states = [path for path in jobs[0].input if "/experts/" in path]
    assert states == ["results/tiny/seed0/dmole/experts/tiny_choice"]


def test_training_is_told_the_stream_so_far_and_the_parents_state(pretended: Project) -> None:
    (command,) = [
        words
        for words in pretended.commands("train_expert")
        if "results/tiny/seed0/dmole/experts/tiny_ground" in words
    ]
    text = " ".join(command)
    assert "--tasks tiny_caption tiny_choice tiny_ground --data" in text
    assert "--states results/tiny/seed0/dmole/experts/tiny_caption --seed 0" in text
    assert "--allocation results/tiny/seed0/allocations/tiny_ground.json" in text
    assert "--transfer results/tiny/seed0/transfers/tiny_ground.json" in text


def test_a_first_task_reads_no_state(pretended: Project) -> None:
    first = [c for c in pretended.commands("train_expert") if "experts/tiny_caption" in c[-1]]
    assert len(first) == 3
    assert not any("--states" in command for command in first)


def test_the_slurm_profile_is_found_and_takes_names_from_the_environment(fresh: Project) -> None:
    names = {"CMIT_SLURM_ACCOUNT": "some_account", "CMIT_SLURM_PARTITION": "some_partition"}
    done = fresh.snakemake("--profile", "slurm", "--dry-run", **names)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = (done.stdout + done.stderr).split("\nrule ")
    (predict, *_) = [block for block in blocks if block.startswith("predict:")]
    assert "slurm_account=some_account, slurm_partition=some_partition" in predict
    assert "gpu=1" in predict
    assert "mem_mb=16000" in predict  # the rule's own, not the default


@pytest.fixture
def paper(fresh: Project) -> Project:
    """The project with the configuration of the paper, which is not there to be edited."""
    project = Project(fresh.folder)
    project.config = "workflow/config/cmit.yaml"
    return project


def test_the_nine_tasks_of_the_paper_dry_run_without_data_and_backbone(paper: Project) -> None:
    jobs = paper.plan()
    assert Counter(job.rule for job in jobs) == {
        "prepare_data": 18,
        "sample_subset": 9,
        "profile_gradients": 9,
        "allocate_experts": 9,
        "extract_features": 18,
        "fit_router": 9,
        "choose_parent": 9,
        "train_expert": 18,  # dmole, seq_ft
        "route_samples": 18,
        "predict_backbone": 9,
        "predict": 18,
        "list_runs": 1,
        "score": 1,
        "measure_separability": 1,
        "compare": 1,
        "report": 1,
    }
    order = [job.task for job in jobs if (job.rule, job.scope) == ("train_expert", "seed0/seq_ft")]
    assert order == [*cmit_tree.TASKS]


def test_a_run_without_its_data_ends_with_the_list_of_what_is_missing(paper: Project) -> None:
    done = paper.snakemake()
    assert done.returncode != 0
    listed = done.stderr.partition("error: missing files:")[2]
    assert "\n  models/internvl2-2b: backbone.path: there is no such folder" in listed
    assert "\n  data/kvqa/test.jsonl: from http" in listed
    assert len([line for line in listed.splitlines() if line.startswith("  data/")]) == 19
    assert not (paper.folder / "results/cmit/data").exists()


def test_data_that_are_prepared_already_need_no_files(finished: Project) -> None:
    (finished.folder / "tests/data/tiny/tiny_choice.parquet").unlink()
    assert finished.plan() == []


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
        ({"backbone": {"path": "models/none"}}, "models/none: backbone.path: there is no such"),
        ({"backbone": {"path": "stages"}}, "backbone.path: backbone stages: missing config.json"),
        ({"data_root": "no/data"}, "data_root: there is no folder 'no/data'"),
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

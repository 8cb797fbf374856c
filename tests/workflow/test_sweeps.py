"""The shipped sweeps: each variant makes what its change affects, and shares all else."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import complete
from stages.core.runs.checks import check_runs
from stages.core.runs.runs import Runs
from tests.helpers.decisions import PARENTS
from tests.helpers.project import Project

SWEEPS = sorted(Path("workflow/config/sweeps").glob("*.yaml"))
TASKS = list(PARENTS)
NEW_ANSWERS = {"route_samples", "predict"}
NEW_SLOTS = {"allocate_experts", "train_expert", "predict"}
NEW_ROUTERS = {"fit_router", "choose_parent", "train_expert", "route_samples", "predict"}
# The stages that a variant has jobs of, after a plain run of the methods behind the variants.
OWN = {
    **dict.fromkeys([f"threshold_{x}" for x in ("x0_1", "x0_5", "x2", "x10")], NEW_ANSWERS),
    **dict.fromkeys(["second_in_rank", "best_alone"], NEW_ANSWERS),
    **dict.fromkeys(["v1_llm_only", "v2_vision_only", "v3_even"], NEW_SLOTS),
    **dict.fromkeys(
        [f"{rule}_slots" for rule in ("uniform", "random", "top", "bottom")], NEW_SLOTS
    ),
    **dict.fromkeys(["tower_score_sum", "vision_floor", "dmole_2x", "dmole_4x"], NEW_SLOTS),
    "v4_unrouted": NEW_SLOTS,
    "no_parent": {"train_expert", "route_samples", "predict"},
    "parent_if_lower": {"train_expert", "route_samples", "predict"},
    **dict.fromkeys(["slow_beside_parent", "prompt_variants"], {"train_expert", "predict"}),
    "parent_if_under": {"choose_parent", "train_expert", "route_samples", "predict"},
    **dict.fromkeys(
        ["autoencoder", "prototype", "sigmoid_router", "threshold_on_train"],
        NEW_ROUTERS | {"extract_features"},
    ),
    "prototype_by_meaning": NEW_ROUTERS,
    **dict.fromkeys(["o_lora_2x", "o_lora_4x"], {"match_size", "train_expert", "predict"}),
    **dict.fromkeys(
        ["dmole_reversed", "dmole_mixed"],
        {"choose_parent", "train_expert", "route_samples", "predict"},
    ),
    **dict.fromkeys(
        ["seq_ft_reversed", "seq_ft_mixed"], {"train_expert", "route_samples", "predict"}
    ),
}


def content(sweep: Path) -> dict:
    return yaml.safe_load(sweep.read_text())


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_runs_over_the_pocket_stream(sweep: Path) -> None:
    """With one command: `--configfile workflow/config/pocket.yaml <sweep>`."""
    base = yaml.safe_load(Path("workflow/config/pocket.yaml").read_text())
    config = complete(base | content(sweep), str(sweep))
    check_runs(Runs(config))
    assert config["sweep"] == sweep.stem
    assert set(config["variants"]) <= set(config["methods"])
    assert f"`{sweep.stem}.yaml`" in Path("workflow/config/README.md").read_text()


@pytest.fixture(scope="module")
def swept(pretended: Project, tmp_path_factory) -> Project:
    """A finished plain run, about to run all sweeps at once."""
    variants = {}
    for sweep in SWEEPS:
        variants |= content(sweep).get("variants", {})
    orders = {"reversed": TASKS[::-1], "mixed": [TASKS[1], TASKS[2], TASKS[0]]}
    for name, change in variants.items():
        if "tasks" in change["set"]:
            change["set"]["tasks"] = orders[name.rpartition("_")[2]]
    plain = {"methods": ["dmole", "seq_ft", "o_lora", "unrouted"], "variants": {}}
    project = pretended.copy(tmp_path_factory.mktemp("swept") / "project")
    config = yaml.safe_load((project.folder / project.config).read_text()) | plain
    (project.folder / project.config).write_text(yaml.safe_dump(config))
    project.carry_on()
    file = project.folder / "sweep.yaml"
    file.write_text(
        yaml.safe_dump({"sweep": "all", "methods": list(variants), "variants": variants})
    )
    project.more = ["sweep.yaml"]
    return project


def test_a_variant_has_jobs_of_the_stages_that_its_change_affects_alone(swept: Project) -> None:
    own = defaultdict(set)
    for job in swept.plan():
        own[job.scope.removeprefix("seed0/") if job.scope else ""].add(job.rule)
    summary = {"list_runs", "score", "measure_separability", "compare", "report"}
    assert own.pop("") == summary  # into the sweep's own folder
    assert dict(own) == OWN


def test_an_order_trains_along_itself(swept: Project) -> None:
    jobs = {
        j.task: j
        for j in swept.plan()
        if (j.rule, j.scope) == ("train_expert", "seed0/seq_ft_mixed")
    }
    states = {
        task: [Path(path).name for path in job.input if "/experts/" in path]
        for task, job in jobs.items()
    }
    assert states == {TASKS[1]: [], TASKS[2]: [TASKS[1]], TASKS[0]: [TASKS[2]]}


def test_an_order_of_other_tasks_is_refused(swept: Project) -> None:
    file = swept.folder / "other.yaml"
    change = {"method": "dmole", "set": {"tasks": TASKS[:2]}}
    file.write_text(yaml.safe_dump({"methods": ["short"], "variants": {"short": change}}))
    other = Project(swept.folder)
    other.more = ["other.yaml"]
    done = other.snakemake("--dry-run")
    assert done.returncode != 0
    assert "variants.short.set.tasks: must be the stream's tasks in another order" in done.stdout

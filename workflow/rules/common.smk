"""What all rules share: the checked config, where artefacts are, how code and config are tracked."""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from stages.core.config import complete, read_yaml
from stages.core.errors import InputError
from stages.core.provenance import source_hash
from stages.core.scopes import Plan, split_scope

# Jobs run with the Python that runs Snakemake, also where its environment is not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

try:
    config.update(complete(config, "config"))
    plan = Plan(config)
    plan.check()
except InputError as error:
    raise WorkflowError(f"error: {error}") from None

ROOT = f"{config['output']}/{config['stream']}"
LOGS = f"{ROOT}/logs"
BENCHMARKS = f"{ROOT}/benchmarks"
TASKS = config["tasks"]


wildcard_constraints:
    scope=r"seed\d+(/[A-Za-z0-9_]+)?",
    place=r"(seed\d+/)?([A-Za-z0-9_]+/)?",
    task="|".join(TASKS),
    split="train|test",


# --- where an artefact is ---


def runs():
    """Every (seed scope, run) of the config, e.g. ("seed0", "dmole")."""
    return [(f"seed{seed}", name) for seed in config["seeds"] for name in config["methods"]]


def run_of(wildcards):
    """The method or variant a job belongs to; '' where it is shared."""
    place = wildcards.get("scope") or wildcards.get("place", "")
    return split_scope(place.rstrip("/"))[1]


def method_of(wildcards):
    return plan.methods[run_of(wildcards)]


def made_by(stage, path, scope):
    """The artefact `path` of another stage as a job of `scope` finds it."""
    return f"{ROOT}/{plan.scope(stage, scope)}/{path}"


def of(stage, path):
    """Input function: the artefact `path` (with {task}) that `stage` makes for this job."""
    return lambda wildcards: made_by(stage, path.format(task=wildcards.task), wildcards.scope)


def of_tasks(stage, path, tasks):
    """Like `of`, for each of the tasks that `tasks(wildcards)` lists."""
    return lambda wildcards: [
        made_by(stage, path.format(task=task), wildcards.scope) for task in tasks(wildcards)
    ]


def of_runs(stage, path):
    """The artefact `path` of every run and task, those that runs share once."""
    found = (
        made_by(stage, path.format(task=task), f"{seed}/{name}")
        for seed, name in runs()
        for task in tasks_of(stage, name)
    )
    return list(dict.fromkeys(found))


def tasks_of(stage, name):
    """The tasks for which a run needs the artefact of a stage."""
    if stage in ("profile_gradients", "allocate_experts"):
        return TASKS if plan.needs(name, "allocation") else []
    if stage == "fit_router":
        return TASKS if plan.needs(name, "router") else []
    if stage == "choose_parent":
        return TASKS if plan.has_transfer(name) else []
    if stage == "train_expert":
        return plan.method(name).trained_tasks(TASKS)
    return TASKS


def every_artefact():
    """All that people open, so that whatever of it is deleted is made again."""
    return [
        *of_runs("profile_gradients", "profiles/{task}.parquet"),
        *of_runs("allocate_experts", "allocations/{task}.json"),
        *of_runs("fit_router", "routers/{task}.json"),
        *of_runs("choose_parent", "transfers/{task}.json"),
        *of_runs("train_expert", "experts/{task}"),
        *of_runs("route_samples", "routes/{task}.parquet"),
        *of_runs("predict", "predictions/{task}.parquet"),
        f"{ROOT}/scores.parquet",
        f"{ROOT}/metrics.json",
        f"{ROOT}/report.html",
    ]


def test_features(name, task):
    """The features of a task's test rows; a run that computes features its own way has its own."""
    owner = plan.features_owner(name)
    return f"{ROOT}/{owner + '/' if owner else ''}features/{task}.parquet"


# --- which tasks ---


def earlier(wildcards):
    """The tasks before this one in the stream."""
    return TASKS[: TASKS.index(wildcards.task)]


def until(wildcards):
    """The stream up to this task: a task that is added at its end reruns no training."""
    return TASKS[: TASKS.index(wildcards.task) + 1]


def earlier_if_thresholds(wildcards):
    """The earlier tasks, if the choice of a parent looks at their thresholds."""
    required = plan.config_of(run_of(wildcards))["transfer"]["require_threshold"]
    return earlier(wildcards) if required else []


# --- what a stage is tracked by ---


def slice_of(stage):
    """Params function: the config keys that a stage reads, as JSON text."""

    def text(wildcards):
        part = plan.slice_of(stage, run_of(wildcards), wildcards.get("task"))
        return json.dumps(part, sort_keys=True)

    return text


def source_of(stage):
    """Hash of a stage's code with all it imports: an edit there reruns the stage's jobs."""
    return source_hash(f"stages.{stage}")


def source_with_method(stage):
    """Params function: the same, with the method's file."""
    return lambda wildcards: source_hash(f"stages.{stage}", f"stages.methods.{method_of(wildcards)}")


def given(*names):
    """Params function: the inputs of these names as flags, without those that are empty."""

    def flags(wildcards, input):
        files = {name: getattr(input, name) for name in names}
        return [f"--{name} {files[name]}" for name in names if files[name]]

    return flags


def seed_of(wildcards):
    return int(split_scope(wildcards.scope)[0].removeprefix("seed"))


def growing(megabytes):
    """Memory that grows with each retry."""
    return lambda wildcards, attempt: megabytes * attempt

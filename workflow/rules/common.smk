"""What the rules share: the checked config, whose a job is, and where artefacts are.

Where an artefact is and who reads it says the table of stages, stages/core/runs/stage_table.py.
"""

import os

from snakemake.exceptions import WorkflowError

from stages.core.base.config import complete
from stages.core.base.errors import InputError, unknown
from stages.core.costs.shards import shards
from stages.core.dmole.decisions import read_transfer
from stages.core.runs.checks import check_runs
from stages.core.runs.run_sheet import labels_of, measure_file, settings_of, sources_of
from stages.core.runs.runs import Runs, split_scope
from stages.core.runs.stage_table import STAGES, artefact, writer

try:
    CONFIG_FILES = list(map(os.path.relpath, workflow.configfiles))
    config.update(complete(config, ", ".join(CONFIG_FILES)))
    runs = Runs(config)
    check_runs(runs)
except InputError as error:
    raise WorkflowError(f"error: {error}") from None

ROOT = f"{os.path.normpath(config['output'])}/{config['stream']}"
SUMMARY = f"{ROOT}/sweeps/{config['sweep']}" if config["sweep"] else ROOT
GPUS = config["gpus"]
# A training job on several nodes: one task per node, which the stage itself starts with srun. (With
# "mpi" the executor starts none, and "tasks_per_gpu" keeps "tasks" from being taken per GPU.)
SPREAD = {"mpi": "srun", "tasks": GPUS["nodes"], "tasks_per_gpu": 0} if GPUS["nodes"] > 1 else {}


wildcard_constraints:
    scope=r"seed\d+(/[A-Za-z0-9_]+)?",
    place=r"(seed\d+/)?([A-Za-z0-9_]+/)?",
    task="|".join(config["tasks"]),
    split="train|test",
    shard=r"\d+",


# --- whose job it is ---


def scope_of(wildcards):
    """The scope of a job, such as seed0/dmole; '' for what all seeds and methods share."""
    return (wildcards.get("scope") or wildcards.get("place", "")).rstrip("/")


def run_of(wildcards):
    """The method or variant a job belongs to; '' where it is shared."""
    return split_scope(scope_of(wildcards))[1]


def method_of(wildcards):
    return runs.methods[run_of(wildcards)]


def seed_of(wildcards):
    return int(split_scope(scope_of(wildcards))[0].removeprefix("seed"))


def stream_of(wildcards):
    """All tasks, in the order in which this run learns them."""
    return runs.tasks(run_of(wildcards))


def earlier(wildcards):
    """The tasks before this one in the stream."""
    tasks = stream_of(wildcards)
    return tasks[: tasks.index(wildcards.task)]


def so_far(wildcards):
    """The stream up to this task: a task that is added at its end reruns no training."""
    return [*earlier(wildcards), wildcards.task]


# --- where artefacts, logs and benchmarks are ---


def _place(stage):
    """The wildcards of the folder that a stage writes to."""
    entry = STAGES[stage]
    return "" if entry.fixed else "{place}" if entry.seedless else "{scope}/"


def made(stage, name):
    """Output: the path, with wildcards, of an artefact that a stage writes."""
    entry = STAGES[stage]
    root = SUMMARY if entry.summary else ROOT
    return f"{root}/{_place(stage)}{entry.writes[name].path}"


def measured(name):
    """Output: the path, with wildcards, of what is measured of a finished run on demand."""
    return f"{ROOT}/{measure_file(name, '{scope}', config['sweep'])}"


def all_measured(name):
    """Input: what was measured so far."""
    files = [measured(name).format(scope=scope) for scope, _ in runs.scopes]
    return [file for file in files if os.path.isfile(file)]


def shard_of(stage):
    """Output: the file that says that a shard of a stage's answers is there."""
    folder, name = os.path.split(made(stage, next(iter(STAGES[stage].writes))))
    return f"{folder}/.{name}.shard{{shard}}"


def shard_count(stage, wildcards):
    """Into how many jobs a task's answers are divided; a backbone that a rule makes is small."""
    if config["prediction"]["shards"] == "auto" and BACKBONE in MADE_BACKBONES:
        return 1
    try:
        return shards(runs, stage, run_of(wildcards), wildcards.task)
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None


def shards_of(stage):
    """Input function: all shards of a task's answers; none where one job gives them."""

    def files(wildcards):
        count = shard_count(stage, wildcards)
        numbers = range(1, count + 1) if count > 1 else []
        return [shard_of(stage).format(**wildcards, shard=number) for number in numbers]

    return files


def shard_flags(stage):
    """Params function: the flags of a job that gives a shard."""
    return lambda wildcards, output: [
        "--shard",
        f"{wildcards.shard}/{shard_count(stage, wildcards)}",
        "--done",
        output[0],
    ]


def log_of(stage):
    file = config["sweep"] or stage if STAGES[stage].summary else f"{_place(stage)}{{task}}"
    return f"{ROOT}/logs/{stage}/{file}.log"


def benchmark_of(stage):
    return log_of(stage).replace(f"{ROOT}/logs/", f"{ROOT}/benchmarks/", 1)[:-4] + ".tsv"


def _known(stage, name):
    """That the table says so of the stage; an input that it does not know ends here."""
    if name not in STAGES[stage].reads:
        fault = unknown("input", name, STAGES[stage].reads, f"rule {stage}")
        raise WorkflowError(f"error: {fault} The table of stages says what a stage reads.")


def of(stage, name):
    """Input function: what a job of `stage` finds of artefact `name`."""
    _known(stage, name)

    def files(wildcards):
        scope = scope_of(wildcards)
        found = runs.files(stage, name, scope, wildcards.task, lambda: transfer_of(wildcards))
        return [f"{ROOT}/{path}" for path in found]

    return files


def transfer_of(wildcards):
    """The choice of a parent; on a fresh tree Snakemake comes back once it has been made."""
    run, task = run_of(wildcards), wildcards.task
    if not runs.has_transfer(run):
        return None
    file = runs.overrides("transfer", run).get(task)
    if not file:
        scope = runs.scope("choose_parent", wildcards.scope)
        file = checkpoints.choose_parent.get(scope=scope, task=task).output[0]
    try:
        return read_transfer(file, task, earlier(wildcards))
    except InputError as error:
        raise WorkflowError(f"error: {error}") from None


def all_of(stage, name):
    """What a stage that looks at all runs finds of artefact `name`."""
    _known(stage, name)
    if STAGES[writer(name)].summary:
        return made(writer(name), name)
    return [f"{ROOT}/{path}" for path in runs.all_files(name)]


def every_artefact():
    """All that people open, so that whatever of it is deleted is made again."""
    of_runs = [f"{ROOT}/{path}" for path in runs.opened_files()]
    return of_runs + [
        made(stage, name)
        for stage, entry in STAGES.items()
        if entry.summary
        for name in entry.writes
    ]

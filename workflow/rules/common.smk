"""What the rules share: the checked config, where artefacts are, and what a job is tracked by."""

import json
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from stages.core.backbone.load import check_folder
from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.base.provenance import source_hash
from stages.core.runs.runs import STAGE_KEYS, Runs, split_scope


include: "environment.smk"


try:
    CONFIG_FILES = list(map(os.path.relpath, workflow.configfiles))
    config.update(complete(config, ", ".join(CONFIG_FILES)))
    plan = Runs(config)
    plan.check()
except InputError as error:
    raise WorkflowError(f"error: {error}") from None

ROOT = f"{config['output']}/{config['stream']}"
COMMAND = f"snakemake --configfile {' '.join(CONFIG_FILES)}"
LOGS = f"{ROOT}/logs"
BENCHMARKS = f"{ROOT}/benchmarks"
SUMMARY = f"{ROOT}/sweeps/{config['sweep']}" if config["sweep"] else ROOT
TASKS = config["tasks"]
GPUS = config["gpus"]
BACKBONE = config["backbone"]["path"]
MADE_BACKBONES = ["results/backbones/pocket", "results/backbones/tiny"]  # each by a rule


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


def made_by(stage, path, scope):
    """The artefact `path` of a stage as a job of `scope` finds it."""
    return str(Path(ROOT, plan.scope(stage, scope), path))


def of(stage, path):
    """Input function: the artefact `path` (with {task}) that `stage` makes for this job."""
    return lambda wildcards: made_by(stage, path.format(task=wildcards.task), wildcards.scope)


def of_tasks(stage, path, tasks):
    """Input function: the same for each of the tasks that `tasks(wildcards)` lists."""
    return lambda wildcards: [
        made_by(stage, path.format(task=task), wildcards.scope) for task in tasks(wildcards)
    ]


def of_runs(stage, path):
    """The artefact `path` of every run and task; one that runs share stands there once."""
    found = (
        made_by(stage, path.format(task=task), f"{seed}/{name}")
        for seed, name in runs()
        for task in plan.tasks_of(stage, name)
    )
    return list(dict.fromkeys(found))


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
        f"{SUMMARY}/scores.parquet",
        f"{SUMMARY}/metrics.json",
        f"{SUMMARY}/comparison.md",
        f"{SUMMARY}/report.html",
    ]


def all_tasks(path):
    """The paths with {task} of all tasks in one word, which the shell expands: a command line
    with every path of a large comparison written out would be too long."""
    return path.format(task=TASKS[0] if len(TASKS) == 1 else f"{{{','.join(TASKS)}}}")


def benchmark_files(wildcards):
    """Params function: run times of the jobs behind every artefact, where their rules note them."""
    own = (
        all_tasks(made_by(stage, "{task}.tsv", f"{seed}/{name}")).replace(
            ROOT, f"{BENCHMARKS}/{stage}", 1
        )
        for stage in STAGE_KEYS
        for seed, name in runs()
        if plan.tasks_of(stage, name)
    )
    of_test_rows = all_tasks(f"{BENCHMARKS}/extract_features/{{task}}.tsv")
    return [*dict.fromkeys(own), of_test_rows]


def routes_of_runs(wildcards):
    """Params function: `--routes NAME SEED FILE..` for every run."""
    return [
        f"--routes {name} {seed.removeprefix('seed')} "
        + all_tasks(made_by("route_samples", "routes/{task}.parquet", f"{seed}/{name}"))
        for seed, name in runs()
    ]


# --- inputs: data and backbone ---


MISSING = {}  # files that no rule makes and that are not there, each with what to do


def present(files, advice):
    """Those of the given files that are there. A dry run names the others and shows the plan all
    the same; a real one ends with their list before the first job."""
    for file in files:
        if not Path(file).exists() and file not in MISSING:
            MISSING[file] = advice
            logger.warning(f"missing: {file}")
    return [file for file in files if file not in MISSING]


onstart:
    if MISSING:
        listed = "\n".join(f"  {file}: {advice}" for file, advice in MISSING.items())
        raise WorkflowError(f"error: missing files:\n{listed}")
    # While jobs wait for a core, a limit of starts per second wakes Snakemake 9.27 every second
    # once for each job that has ended; after some hundreds that takes half a core from the jobs.
    # Without its default limit, 100 a second, it wakes when a job ends.
    starts = workflow.scheduling_settings.max_jobs_per_timespan
    if starts and (starts.max_jobs, starts.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def backbone_files():
    """What decides a backbone: the folder if a rule makes it, else its settings and weights."""
    if BACKBONE in MADE_BACKBONES:
        return [BACKBONE]
    if config["backbone"]["revision"] and not Path(BACKBONE).is_dir():
        return []  # a model of the hub, pinned by its revision
    advice = (
        "backbone.path: there is no such folder. Give the folder of a model, or the name of one on "
        "the Hugging Face hub with its commit as backbone.revision. "
        f"Made when missing: {', '.join(MADE_BACKBONES)}."
    )
    if not present([BACKBONE], advice):
        return []
    check_folder(Path(BACKBONE))
    kinds = (".json", ".safetensors")
    return sorted(str(file) for file in Path(BACKBONE).iterdir() if file.suffix in kinds)


try:
    BACKBONE_FILES = backbone_files()
except InputError as error:
    raise WorkflowError(f"error: backbone.path: {error}") from None


def backbone(wildcards):
    return BACKBONE


def manifest_file(wildcards):
    return str(plan.manifest(wildcards.task).path)


def rows_files(wildcards):
    """The files that a manifest names for a split; none for a data set of the hub."""
    manifest = plan.manifest(wildcards.task)
    split = manifest.content[wildcards.split]
    named = [split[key] for key in ("file", "annotations") if key in split]
    files = [str(manifest.root.folder / name) for name in named]
    if Path(ROOT, "data", wildcards.task, f"{wildcards.split}.parquet").exists():
        return files  # what was prepared stays usable when the files are gone
    origin = manifest.content["source"]
    advice = f"from {origin.get('url', origin['name'])}; if it lies elsewhere, set data_root"
    return present(files, advice)


def picked_rows(wildcards):
    """The flags of a seeded pick of rows; it is the same for all seeds of the training."""
    count = config["rows"][wildcards.split]
    return f"--rows {count} --seed 0" if count else ""


def rows_of_features(wildcards):
    """Below a seed the features of the subset, elsewhere those of the test rows."""
    place = wildcards.place.rstrip("/")
    if split_scope(place)[0]:
        return made_by("sample_subset", f"subsets/{wildcards.task}.parquet", place)
    return f"{ROOT}/data/{wildcards.task}/test.parquet"


# --- inputs: routers and experts ---


def stream_of(wildcards):
    """All tasks, in the order in which this run learns them."""
    return plan.tasks(run_of(wildcards))


def earlier(wildcards):
    """The tasks before this one in the stream."""
    tasks = stream_of(wildcards)
    return tasks[: tasks.index(wildcards.task)]


def so_far(wildcards):
    """The stream up to this task: a task that is added at its end reruns no training."""
    return [*earlier(wildcards), wildcards.task]


def earlier_with_thresholds(wildcards):
    """The earlier tasks, if the choice of a parent looks at their thresholds."""
    required = plan.config_of(run_of(wildcards))["transfer"]["require_threshold"]
    return earlier(wildcards) if required else []


def allocation_file(wildcards):
    needed = plan.needs(run_of(wildcards), "allocation")
    return of("allocate_experts", "allocations/{task}.json")(wildcards) if needed else []


def tasks_to_match(wildcards):
    return stream_of(wildcards) if plan.matches_allocations(run_of(wildcards)) else []


def transfer_file(wildcards):
    """The choice of a parent; on a fresh tree Snakemake comes back once it has been made."""
    if not plan.has_transfer(run_of(wildcards)):
        return []
    scope = plan.scope("choose_parent", wildcards.scope)
    return checkpoints.choose_parent.get(scope=scope, task=wildcards.task).output[0]


def rows_to_train_on(wildcards):
    """The training rows of this task and of others whose rows the method reads."""
    tasks = plan.method(run_of(wildcards)).reads_data(wildcards.task, so_far(wildcards))
    return [f"{ROOT}/data/{task}/train.parquet" for task in tasks]


def starting_states(wildcards):
    """The experts that training starts from; with D-MoLE the parent's."""
    from stages.core.base.artifacts import read_json

    file = transfer_file(wildcards)
    transfer = read_json("transfer", file) if file else None
    method = plan.method(run_of(wildcards))
    tasks = method.starts_from(wildcards.task, so_far(wildcards), transfer)
    return [f"{ROOT}/{wildcards.scope}/experts/{task}" for task in tasks]


def tasks_with_routers(wildcards):
    return stream_of(wildcards) if plan.needs(run_of(wildcards), "router") else []


def tasks_with_parents(wildcards):
    return stream_of(wildcards) if plan.uses_transfer_at_test(run_of(wildcards)) else []


def features_to_route(wildcards):
    """Features of the test rows; a run that computes features its own way has its own."""
    name = run_of(wildcards)
    if not plan.needs(name, "router"):
        return []
    owner = plan.features_owner(name)
    return str(Path(ROOT, owner, "features", f"{wildcards.task}.parquet"))


def states_at_test(wildcards):
    return plan.states_at_test(run_of(wildcards), wildcards.task)


# --- params: what a job is tracked by, and flags ---


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
    """Params function: the same, together with the method's file."""
    return lambda wildcards: source_hash(
        f"stages.{stage}", f"stages.methods.{method_of(wildcards)}"
    )


def method_of(wildcards):
    return plan.methods[run_of(wildcards)]


def seed_of(wildcards):
    return int(split_scope(wildcards.scope)[0].removeprefix("seed"))


def given(*names):
    """Params function: the inputs of these names as flags, without those that are empty."""
    return lambda wildcards, input: [f"--{name} {input[name]}" for name in names if input[name]]


def flag_of_runs(flag, *artefacts):
    """`flag NAME SEED FILE..` for every run and task, FILE being (stage, path) artefacts."""
    return [
        " ".join(
            [flag, name, seed.removeprefix("seed")]
            + [
                made_by(stage, path.format(task=task), f"{seed}/{name}")
                for stage, path in artefacts
            ]
        )
        for seed, name in runs()
        for task in TASKS
    ]


def other_orders():
    """`--order NAME TASK..` for every run that learns the tasks in an order of its own."""
    return [
        f"--order {name} {' '.join(plan.tasks(name))}"
        for name in config["methods"]
        if plan.tasks(name) != TASKS
    ]


def growing(amount):
    """Memory or time that grows with each retry."""
    return lambda wildcards, attempt: amount * attempt

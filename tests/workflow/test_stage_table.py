"""Every job of a dry run reads and writes what the table of stages says, and nothing else.

What no stage makes is left out on both sides: the backbone's files, a task's manifest and files,
the shipped template and published table.
"""

from pathlib import Path

import pytest
import yaml

from stages.core.base.config import load_config
from stages.core.runs.run_jobs import run_jobs
from stages.core.runs.runs import Made, Runs, split_scope
from stages.core.runs.stage import Job
from stages.core.runs.stage_table import STAGES, artefact, rule_of, writer
from tests.helpers.decisions import PARENTS, transfer
from tests.helpers.project import Job as DryJob
from tests.helpers.project import Project

VARIANTS = {
    "half": {"method": "dmole", "set": {"budget.ratio": 0.25}},
    "weighed": {"method": "dmole", "set": {"transfer.accept": "lower_loss"}},
    "raw": {"method": "dmole", "set": {"features.normalize": False}},
    "swapped": {
        "method": "dmole",
        "set": {"tasks": ["tiny_caption", "tiny_ground", "tiny_choice"]},
    },
}
TAKEN = "transfers/tiny_choice.json"  # of the pretended project
VARIANTS["taken"] = {"method": "dmole", "set": {"overrides.transfer": {"tiny_choice": TAKEN}}}
UNKNOWN = "<TBD>"  # what a dry run prints where a checkpoint must run first


def stage_of(job: DryJob) -> str:
    """The entry of the table that a job belongs to; features have two, overrides three."""
    if job.rule == "take_override":
        folder = Path(job.output[0]).parent.name
        return f"override_{folder.removesuffix('s')}"
    if job.rule == "extract_features" and not split_scope(job.scope)[0]:
        return "extract_test_features"
    return job.rule


def place(runs: Runs, name: str, scope: str, task: str) -> str:
    """Where a job of ``scope`` finds an artefact, or where the summary of all runs is."""
    root = f"{runs.config['output']}/{runs.config['stream']}"
    if STAGES[writer(name)].summary:
        return f"{root}/{artefact(name).path}"
    return f"{root}/{runs.path(name, scope, task)}"


def expected(runs: Runs, job: DryJob, parents: dict | None) -> tuple[set[str], set[str]]:
    """Inputs and outputs of a job by the table; without ``parents`` no states of training."""
    stage = stage_of(job)
    entry, (_, run) = STAGES[stage], split_scope(job.scope)
    if entry.summary:
        reads = {
            place(runs, name, made.scope, made.task)
            for name in entry.reads
            for made in runs.made
            if made.artefact == name
        }
        reads |= {place(runs, n, "", "") for n in entry.reads if STAGES[writer(n)].summary}
        return reads, {place(runs, name, "", "") for name in entry.writes}
    known = None if parents is None else transfer(job.task, parents[job.task])
    asked = Job(runs, run, job.task, lambda: known if runs.has_transfer(run) else None)
    reads = {
        place(runs, name, job.scope, task)
        for name, tasks in entry.reads.items()
        for task in tasks(asked)
    }
    root = f"{runs.config['output']}/{runs.config['stream']}"
    made = (Made(stage, job.scope, name, job.task) for name in entry.writes)
    return reads, {f"{root}/{runs.file(one)}" for one in made}


def compare(project: Project, config: Path, jobs: list[DryJob], parents: dict | None) -> int:
    """Compare all jobs; how many were compared."""
    runs = Runs(load_config(config))
    root, seen = f"{runs.config['output']}/{runs.config['stream']}/", 0
    for job in jobs:
        if job.rule in ("make_tiny_backbone", "assemble_backbone"):
            continue
        reads, writes = expected(runs, job, parents)
        if job.rule == "prepare_data":  # one job per split
            writes &= set(job.output)
        found = {path for path in job.input if path.startswith(root)}
        if UNKNOWN in job.input:
            continue
        where = f"{job.rule} {job.scope} {job.task}"
        assert found == reads, f"{where}: inputs differ from the table of stages"
        assert set(job.output) == writes, f"{where}: outputs differ from the table of stages"
        seen += 1
    return seen


def with_variants(project: Project) -> Path:
    """The tiny configuration with variants, as the project's own."""
    path = project.folder / "variants.yaml"
    config = yaml.safe_load((project.folder / "workflow/config/tiny.yaml").read_text())
    methods = ["dmole", "seq_ft", "joint", "zero_shot", *VARIANTS]
    path.write_text(yaml.safe_dump(config | {"methods": methods, "variants": VARIANTS}))
    project.config = str(path)
    return path


def test_every_job_of_tiny_with_variants(fresh: Project, tmp_path: Path, monkeypatch) -> None:
    project = fresh.copy(tmp_path / "project")
    config = with_variants(project)
    project.pretend()
    jobs = project.plan("--forceall")
    monkeypatch.chdir(project.folder)  # where the paths of overrides start
    assert {job.rule for job in jobs} >= {rule_of(stage) for stage in STAGES}
    assert compare(project, config, jobs, PARENTS) > 80
    assert listed(config) == {
        (job.rule, job.output, job.log, job.wildcards)
        for job in jobs
        if job.rule != "make_tiny_backbone"
    }


def listed(config: Path) -> set[tuple[str, tuple[str, ...], str, tuple[str, ...]]]:
    """The jobs of a configuration as `cmit status` lists them."""
    root = "results/tiny"
    return {
        (
            job.rule,
            tuple(f"{root}/{file}" for file in job.outputs),
            f"{root}/{job.log}",
            job.wildcards,
        )
        for job in run_jobs(Runs(load_config(config)))
    }


def test_every_job_of_the_comparison_of_all_methods(fresh: Project) -> None:
    project = Project(fresh.folder)
    project.config = "workflow/config/compare.yaml"
    jobs = project.plan()
    assert len(jobs) > 1400
    assert compare(project, fresh.folder / project.config, jobs, None) > 800


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (  # known to the table, of another stage
            'test_rows"),\n        features=',
            'test_rows"),\n        more=of("route_samples", "allocation"),\n        features=',
            "rule route_samples: unknown input 'allocation'",
        ),
        (  # a path that goes around the table
            'test_rows"),\n        features=',
            'test_rows"),\n        more=f"{ROOT}/seed0/allocations/{{task}}.json",\n'
            "        features=",
            "inputs differ from the table of stages",
        ),
    ],
)
def test_an_input_that_the_table_does_not_know_fails(
    fresh: Project, tmp_path: Path, old: str, new: str, message: str
) -> None:
    project = fresh.copy(tmp_path / "project")
    rules = project.folder / "workflow/rules/evaluate.smk"
    text = rules.read_text()
    assert old in text
    rules.write_text(text.replace(old, new, 1))
    with pytest.raises(AssertionError, match=message):
        compare(project, project.folder / project.config, project.plan(), None)

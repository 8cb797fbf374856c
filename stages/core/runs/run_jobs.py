"""The jobs of a run one by one: what each makes, where it logs, and by what SLURM shows it.

Snakemake decides which of them are due; here is only what there is to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.core.runs.runs import Made, Runs
from stages.core.runs.stage_table import OVERRIDES, STAGES, rule_of


@dataclass(frozen=True)
class RunJob:
    """One job; its files start in the stream's folder."""

    stage: str
    scope: str  # such as seed0/dmole; '' for what all seeds and methods share
    task: str  # '' for a job that looks at all runs
    outputs: tuple[str, ...]
    log: str
    wildcards: tuple[str, ...]  # as the rule has them

    @property
    def rule(self) -> str:
        """The rule that makes it."""
        return rule_of(self.stage)

    @property
    def benchmark(self) -> str:
        """Snakemake's file of how long it took; local stages have none."""
        return str(Path("benchmarks", *Path(self.log).parts[1:]).with_suffix(".tsv"))

    @property
    def name(self) -> str:
        """For people: rule, scope and task."""
        split = f"/{Path(self.outputs[0]).stem}" if self.stage == "prepare_data" else ""
        return " ".join(filter(None, (self.rule, self.scope, self.task + split)))

    @property
    def comment(self) -> str:
        """The comment that the SLURM plugin gives the job (2.8)."""
        values = "_".join(self.wildcards).replace("/", "_")
        return f"rule_{self.rule}_wildcards_{values}" if values else f"rule_{self.rule}"


def run_jobs(runs: Runs) -> list[RunJob]:
    """All jobs behind the results of a configuration, in the order of the pipeline."""
    files: dict[tuple[str, str, str, str], list[Made]] = {}
    for made in runs.made:
        split = STAGES[made.stage].writes[made.artefact].split
        files.setdefault((made.stage, made.scope, made.task, split), []).append(made)
    order = {stage: place for place, stage in enumerate(STAGES)}
    tasks = runs.config["tasks"]
    keys = sorted(files, key=lambda key: (order[key[0]], key[1], tasks.index(key[2]), key[3]))
    jobs = [_job(*key, tuple(map(runs.file, files[key]))) for key in keys]
    return jobs + [_summary(runs, stage) for stage, entry in STAGES.items() if entry.summary]


def _job(stage: str, scope: str, task: str, split: str, outputs: tuple[str, ...]) -> RunJob:
    rule, place = rule_of(stage), f"{scope}/" if scope else ""
    wildcards: tuple[str, ...]
    folder = Path(outputs[0]).parent.name
    if split:
        where, wildcards = f"{task}/{split}", (task, split)
    elif stage in OVERRIDES.values():
        where, wildcards = f"{place}{folder}/{task}", (scope, folder, task)
    elif STAGES[stage].seedless or rule == "extract_features":
        where, wildcards = f"{place}{task}", (place, task)
    else:
        where, wildcards = f"{place}{task}", (scope, task)
    return RunJob(stage, scope, task, outputs, f"logs/{rule}/{where}.log", wildcards)


def _summary(runs: Runs, stage: str) -> RunJob:
    """A job that looks at all runs; a sweep has its own, in its own folder."""
    sweep = runs.config["sweep"]
    folder = Path("sweeps", sweep) if sweep else Path()
    outputs = tuple(str(folder / made.path) for made in STAGES[stage].writes.values())
    return RunJob(stage, "", "", outputs, f"logs/{stage}/{sweep or stage}.log", ())

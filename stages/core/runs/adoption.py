"""Which artefacts of a results folder are what the present code and configuration would make of the
files beside them, whatever the times of files: what their provenance says is compared with what is
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from math import isclose
from pathlib import Path
from typing import Any

from stages.core.base import artifacts
from stages.core.base.config import leaves
from stages.core.base.errors import InputError
from stages.core.base.provenance import file_hash, source_hash
from stages.core.base.reading import reading
from stages.core.runs.run_jobs import RunJob
from stages.core.runs.run_place import RunPlace
from stages.core.runs.runs import split_scope
from stages.core.runs.stage import Job
from stages.core.runs.stage_table import OVERRIDES, STAGES

# What a record may lack: states that no route names; the choice of a parent, whose state it has.
LEFT_OUT = {"predict": ("expert",), "train_expert": ("transfer",)}

RESTS_ON = "rests on"  # begins the fault of a job whose own record fits


def read_record(path: Path) -> dict[str, Any]:
    """The provenance of an artefact: a JSON or Parquet file, weights, or an expert's folder.

    Raises:
        InputError: it cannot be read, or has none.
    """
    if path.is_dir():
        return _object(path / "provenance.json")
    if path.suffix == ".parquet":
        return artifacts.metadata(path)["provenance"]
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with reading(path, "safetensors"), safe_open(path, framework="np") as handle:
            return json.loads(json.loads(handle.metadata()["cmit"])["provenance"])
    found = _object(path).get("provenance")
    if not isinstance(found, dict):
        raise InputError(f"{path}: it says nothing of its provenance.")
    return found


def _object(path: Path) -> dict[str, Any]:
    with reading(path, "JSON"):
        return json.loads(path.read_text())


class Adoption:
    """The verdict on every job of a run."""

    def __init__(self, place: RunPlace) -> None:
        self.place, self.runs = place, place.runs
        self._by_file = {file: job for job in place.jobs for file in job.outputs}
        self._verdicts: dict[RunJob, str] = {}
        self._hash = cache(file_hash)

    @cached_property
    def faults(self) -> dict[RunJob, str]:
        """The jobs whose files are not up to date, and why."""
        verdicts = {job: self.verdict(job) for job in self.place.jobs}
        return {job: verdict for job, verdict in verdicts.items() if verdict}

    def verdict(self, job: RunJob) -> str:
        """Why a job's files are not up to date; empty if they are."""
        if job not in self._verdicts:
            self._verdicts[job] = self._own_fault(job) or self._fault_before(job)
        return self._verdicts[job]

    def _fault_before(self, job: RunJob) -> str:
        for name, file in self._reads(job):
            before = self._by_file.get(file)
            if before and before != job and self.verdict(before):
                return f"{RESTS_ON} {name}, {file}"
        return ""

    def _own_fault(self, job: RunJob) -> str:
        for file in job.outputs:
            path = self.place.root / file
            if not path.exists():
                return f"{file} is not there"
            if job.stage == "report" or path.suffix == ".md":  # for people, without a record
                continue
            try:
                record = read_record(path)
            except InputError as error:
                return str(error)
            if fault := self._differs(job, record):
                return fault
        return ""

    def _differs(self, job: RunJob, record: Mapping[str, Any]) -> str:
        run = split_scope(job.scope)[1]
        modules = [f"stages.{job.rule}"]
        if record.get("method"):
            modules.append(f"stages.methods.{self.runs.methods[run]}")
        if record["source"] != source_hash(*modules):
            return "was made by other code"
        seed, scoped = record.get("seed"), split_scope(job.scope)[0].removeprefix("seed")
        if scoped and seed is not None and seed != int(scoped):
            return f"was made under seed {seed}"
        if "tasks" in record and record["tasks"] != self._tasks_to(job):
            return f"was learnt in the order {', '.join(record['tasks'])}"
        return self._other_setting(job, record["config"]) or self._other_input(job, record)

    def _tasks_to(self, job: RunJob) -> list[str]:
        tasks = self.runs.tasks(split_scope(job.scope)[1])
        return tasks[: tasks.index(job.task) + 1]

    def _other_setting(self, job: RunJob, recorded: dict[str, Any]) -> str:
        now = leaves(self.runs.slice_of(job.stage, split_scope(job.scope)[1], job.task or None))
        if job.stage == "prepare_data":
            split = Path(job.outputs[0]).stem
            now |= {"exif": now["image.exif"], "rows": now[f"rows.{split}"]}
            now["held_out"] = now["rows.held_out"]
        before = leaves(recorded)
        for key in sorted(before.keys() & now.keys()):
            if not _same(before[key], now[key]):
                return f"was made with {key}: {before[key]}, now {now[key]}"
        return ""

    def _other_input(self, job: RunJob, record: Mapping[str, Any]) -> str:
        """Whether an input has another content than the record says."""
        left_out = LEFT_OUT.get(job.stage, ())
        wanted = {} if STAGES[job.stage].summary else self._sources(job)
        files = {file: self.place.root / file for _, file in self._reads(job)} | wanted
        missing = [name for name, file in files.items() if not file.exists()]
        if missing and job.stage == "prepare_data":
            return ""  # prepared data stay usable when their source is gone
        if missing:
            return f"{missing[0]} is not there"
        there = {self._hash(file): name for name, file in files.items()}
        recorded = record["inputs"]
        for name, digest in recorded.items():
            if digest not in there:
                return f"was made from another {name}"
        needed = {
            self._hash(self.place.root / file): file
            for name, file in self._reads(job)
            if name not in left_out
        }
        unknown = needed.keys() - set(recorded.values())
        if unknown and not STAGES[job.stage].summary:
            return f"was made without {needed[min(unknown)]}"
        return ""

    def _reads(self, job: RunJob) -> Iterator[tuple[str, str]]:
        """(artefact, file) of all that the job reads, files below the stream's folder."""
        entry = STAGES[job.stage]
        if entry.summary:
            for name in entry.reads:
                for file in self._summary_files(name):
                    yield name, file
            return
        run = split_scope(job.scope)[1]
        asked = Job(self.runs, run, job.task, lambda: self._transfer(job))
        for name, tasks in entry.reads.items():
            for task in tasks(asked):
                yield name, self.runs.path(name, job.scope, task)

    def _summary_files(self, name: str) -> list[str]:
        found = [
            file
            for job in self.place.jobs
            if STAGES[job.stage].summary
            for artefact, file in zip(STAGES[job.stage].writes, job.outputs, strict=True)
            if artefact == name
        ]
        return found or self.runs.all_files(name)

    def _transfer(self, job: RunJob) -> dict[str, Any] | None:
        if not self.runs.has_transfer(split_scope(job.scope)[1]):
            return None
        file = self.place.root / self.runs.path("transfer", job.scope, job.task)
        return artifacts.read_json("transfer", file)

    def _sources(self, job: RunJob) -> dict[str, Path]:
        """What a job reads from outside: the backbone, a task's manifest and files, an override."""
        here, found = self.place.directory, {}
        if STAGES[job.stage].backbone:
            found["the backbone"] = here / self.runs.config["backbone"]["path"]
        if job.stage == "prepare_data":
            manifest = self.runs.manifest(job.task)
            split = manifest.content[Path(job.outputs[0]).stem]
            named = [split[key] for key in ("file", "annotations") if key in split]
            found["the manifest"] = manifest.path
            found |= {name: manifest.root.folder / name for name in named}
        if job.stage in OVERRIDES.values():
            artefact = next(iter(STAGES[job.stage].writes))
            file = self.runs.overrides(artefact, split_scope(job.scope)[1])[job.task]
            found["the override"] = here / file
        return found


def _same(before: Any, now: Any) -> bool:
    """Equal values; JSON artefacts round numbers to nine digits."""
    numbers = (int, float)
    if isinstance(before, numbers) and isinstance(now, numbers):
        return isclose(before, now, rel_tol=1e-8)
    return before == now

"""A finished run of a small stream, every stage called in this process, without Snakemake."""

from __future__ import annotations

import importlib
import json
import runpy
from pathlib import Path
from typing import Any
from unittest import mock

from stages.core.base import artifacts
from stages.core.base.config import complete
from stages.core.runs.runs import Runs, split_scope
from stages.core.runs.stage_table import STAGES, rule_of

MAKE_TINY = Path(__file__).parents[1] / "data/make_tiny.py"
TASKS = ["tiny_caption", "tiny_choice", "tiny_ground"]
SMALL = {
    "stream": "small",
    "tasks": TASKS,
    "max_pixels": 10**6,
    "subset": {"fraction": 1.0},
    "router": {"hidden": 16, "min_steps": 800, "learning_rate": 0.003},
    "training": {
        "epochs": 4,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 0.003,
    },
    "score": {"bootstrap": 20},
}
FLAGS = {  # of a stage's command line, and what it reads under each
    "sample_subset": {"data": "train_rows"},
    "profile_gradients": {"subset": "subset"},
    "allocate_experts": {"profile": "profile"},
    "match_size": {"profile": "profile"},
    "extract_features": {"rows": "subset"},
    "extract_test_features": {"rows": "test_rows"},
    "fit_router": {"features": "subset_features"},
    "choose_parent": {"features": "subset_features", "routers": "router_weights"},
    "train_expert": {
        "data": "train_rows",
        "allocation": "allocation",
        "match": "size",
        "transfer": "transfer",
        "states": "expert",
    },
    "route_samples": {
        "data": "test_rows",
        "features": "test_features",
        "routers": "router_weights",
        "thresholds": "router",
        "transfers": "transfer",
    },
    "predict_backbone": {"data": "test_rows"},
    "predict": {
        "routes": "routes",
        "data": "test_rows",
        "untouched": "backbone_predictions",
        "states": "expert",
    },
}
SEEDED = ("sample_subset", "allocate_experts", "match_size", "fit_router", "train_expert")
OUTS = {"fit_router": ("out-weights", "out-json")}  # where it is not --out


def write_stream(folder: Path, test_rows: int) -> None:
    """The tiny stream's manifests and data, with more test rows."""
    write = runpy.run_path(str(MAKE_TINY))["main"]
    counts = {"train": 12, "test": test_rows}
    folder.mkdir(parents=True)
    with mock.patch.dict(write.__globals__, FOLDER=folder, ROWS=counts):
        write()


class FinishedRun:
    """Makes its results in ``root``."""

    def __init__(self, folder: Path, backbone: Path, methods: list[str], test_rows: int) -> None:
        write_stream(folder / "manifests", test_rows)
        given = SMALL | {
            "manifests": str(folder / "manifests"),
            "output": str(folder),
            "methods": methods,
            "backbone": {"path": str(backbone), "dtype": "float32", "max_tiles": 2},
        }
        self.runs = Runs(complete(given, "small"))
        self.root, self.backbone = folder / "small", backbone
        for stage, entry in STAGES.items():
            jobs = {(m.scope, m.task): None for m in self.runs.made if m.stage == stage}
            for scope, task in sorted(jobs, key=lambda job: (job[0], TASKS.index(job[1]))):
                if stage == "prepare_data":
                    self._prepare(task)
                elif not entry.summary:
                    self._job(stage, scope, task)
        self._summaries()

    def _prepare(self, task: str) -> None:
        manifest = Path(self.runs.config["manifests"]) / f"{task}.yaml"
        for split in ("train", "test"):
            out = self._path(f"{split}_rows", "", task)
            call(
                "prepare_data",
                manifest=manifest,
                split=split,
                **{"max-pixels": SMALL["max_pixels"]},
                out=out,
            )

    def _job(self, stage: str, scope: str, task: str) -> None:
        run = split_scope(scope)[1]
        tasks = self.runs.tasks(run)
        earlier = tasks[: tasks.index(task)]
        flags: dict[str, Any] = {"config": json.dumps(self.runs.slice_of(stage, run, task))}
        for flag, name in FLAGS[stage].items():
            files = self.runs.files(stage, name, scope, task, lambda: self._transfer(scope, task))
            flags |= {flag: [self.root / file for file in files]} if files else {}
        outs = [self._path(name, scope, task) for name in STAGES[stage].writes]
        flags |= dict(zip(OUTS.get(stage, ("out",)), outs, strict=True))
        flags |= {"seed": 0} if stage in SEEDED else {}
        flags |= {"backbone": self.backbone} if STAGES[stage].backbone else {}
        if stage == "choose_parent":
            flags |= {"task": task, "earlier": earlier}
        if stage in ("train_expert", "route_samples", "predict"):
            flags |= {"task": task, "method": self.runs.methods[run]}
        if stage == "train_expert":
            checkpoints = self.root / "checkpoints" / scope / task
            flags |= {"tasks": [*earlier, task], "checkpoints": checkpoints}
        if stage == "route_samples":
            flags["tasks"] = tasks
        call(rule_of(stage), **flags)

    def _transfer(self, scope: str, task: str) -> dict[str, Any] | None:
        if not self.runs.has_transfer(split_scope(scope)[1]):
            return None
        return artifacts.read_json("transfer", self._path("transfer", scope, task))

    def _path(self, name: str, scope: str, task: str) -> Path:
        return self.root / self.runs.path(name, scope, task)

    def _summaries(self) -> None:
        config, sheet = json.dumps(self.runs.config), self.root / "runs.json"
        call("list_runs", config=config, out=sheet)
        outs = dict(zip(("out-scores", "out-samples", "out-metrics"),
                        (self.root / made.path for made in STAGES["score"].writes.values()),
                        strict=True))  # fmt: skip
        call("score", runs=sheet, config=config, **outs)


def call(stage: str, **flags: Any) -> None:
    """A stage's command line; a flag's value may be a list."""
    line = []
    for name, value in flags.items():
        values = value if isinstance(value, list) else [value]
        line += [f"--{name}", *map(str, values)]
    importlib.import_module(f"stages.{stage}").main(line)

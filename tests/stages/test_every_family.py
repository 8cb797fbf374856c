"""Every family of backbones through every stage: two tasks, from their files to the scores."""

import importlib
import json
from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.config import complete
from tests.helpers.tiny_families import MAKERS, write_backbone

TASKS = ["tiny_caption", "tiny_ground"]
CONFIG = {
    "stream": "families",
    "manifests": "tests/data/tiny",
    "tasks": TASKS,
    "methods": ["dmole"],
    "backbone": {"path": "backbone", "dtype": "float32", "max_tiles": 2},
    "subset": {"fraction": 0.5, "min_samples": 6},
    "router": {"hidden": 8, "epochs": 2, "min_steps": 20},
    "training": {"epochs": 1, "batch_size": 4, "micro_batch_size": 2},
    "score": {"bootstrap": 20},
}


def run(stage: str, **flags: object) -> None:
    """A stage's command line; a flag's value may be a list."""
    line = []
    for name, value in flags.items():
        values = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, values)]
    importlib.import_module(f"stages.{stage}").main(line)


@pytest.mark.parametrize("family", MAKERS)
def test_a_stream_of_two_tasks(family: str, tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    write_backbone(family, backbone)
    config = json.dumps(complete(CONFIG, "families"))
    at = {"config": config, "seed": 0}

    def path(stage: str, task: str, ending: str = ".parquet") -> Path:
        return tmp_path / stage / f"{task}{ending}"

    for folder in ("subsets", "profiles", "allocations", "features", "test_features", "routers",
                   "transfers", "experts", "routes", "untouched", "predictions"):  # fmt: skip
        (tmp_path / folder).mkdir()
    seen: list[str] = []
    for task in TASKS:
        for split in ("train", "test"):
            rows = path(split, task)
            manifest = f"tests/data/tiny/{task}.yaml"
            run("prepare_data", manifest=manifest, split=split, max_pixels=10**6, out=rows)
        train, subset = path("train", task), path("subsets", task)
        profile, allocation = path("profiles", task), path("allocations", task, ".json")
        features, transfer = path("features", task), path("transfers", task, ".json")
        weights, router = path("routers", task, ".safetensors"), path("routers", task, ".json")
        run("sample_subset", data=train, out=subset, **at)
        run("profile_gradients", subset=subset, backbone=backbone, config=config, out=profile)
        run("allocate_experts", profile=profile, out=allocation, **at)
        run("extract_features", rows=subset, backbone=backbone, config=config, out=features)
        run("fit_router", features=features, out_weights=weights, out_json=router, **at)
        run(
            "choose_parent", features=features, task=task, earlier=seen, config=config,
            routers=[path("routers", t, ".safetensors") for t in seen],
            thresholds=[path("routers", t, ".json") for t in seen], out=transfer,
        )  # fmt: skip
        parent = json.loads(transfer.read_text())["parent"]
        states = {"states": path("experts", parent, "")} if parent else {}
        run(
            "train_expert", method="dmole", task=task, tasks=[*seen, task], data=train,
            backbone=backbone, allocation=allocation, transfer=transfer, **states,
            checkpoints=tmp_path / "checkpoints" / task, out=path("experts", task, ""), **at,
        )  # fmt: skip
        seen.append(task)
    for task in TASKS:
        rows, features = path("test", task), path("test_features", task)
        routes, answers = path("routes", task), path("predictions", task)
        run("extract_features", rows=rows, backbone=backbone, config=config, out=features)
        run(
            "route_samples", method="dmole", task=task, tasks=TASKS, data=rows, features=features,
            routers=[path("routers", t, ".safetensors") for t in TASKS],
            thresholds=[path("routers", t, ".json") for t in TASKS],
            transfers=[path("transfers", t, ".json") for t in TASKS], config=config, out=routes,
        )  # fmt: skip
        untouched = path("untouched", task)
        run("predict_backbone", data=rows, backbone=backbone, config=config, out=untouched)
        run(
            "predict", method="dmole", task=task, routes=routes, data=rows, backbone=backbone,
            untouched=untouched, states=[path("experts", t, "") for t in TASKS], config=config,
            out=answers,
        )  # fmt: skip
    files = {"test_rows": "test", "routes": "routes", "predictions": "predictions"}
    named = {
        name: {task: str(path(folder, task).relative_to(tmp_path)) for task in TASKS}
        for name, folder in files.items()
    }
    entry = {"name": "dmole", "method": "dmole", "seed": 0, "tasks": TASKS, "artefacts": named}
    sheet = {"stream": "s", "root": ".", "tasks": TASKS, "config": {}, "runs": [entry]}
    artifacts.write_json("runs", tmp_path / "runs.json", {**sheet, "provenance": {}})
    scores, metrics = tmp_path / "scores.parquet", tmp_path / "metrics.json"
    run(
        "score", runs=tmp_path / "runs.json", config=config, out_scores=scores,
        out_samples=tmp_path / "samples.parquet", out_metrics=metrics,
    )  # fmt: skip

    cells = artifacts.read_table("scores", scores).to_pylist()
    found = {(row["step"], row["task"]) for row in cells}
    assert found == {(step, task) for step in range(3) for task in TASKS}
    routed = artifacts.read_table("routes", path("routes", TASKS[1])).to_pylist()
    assert any(row["experts"] for row in routed)  # else only the backbone has answered

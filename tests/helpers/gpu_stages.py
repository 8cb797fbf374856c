"""The stages that can run in several processes, one after the other, on the inputs of a folder.

python -m stages.core.base.launch 2 tests.helpers.gpu_stages INPUTS OUTPUTS
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages import extract_features, predict, predict_backbone, profile_gradients, train_expert
from stages.core.base import artifacts, cli, distributed

TASK = {
    "name": "b",
    "kind": "open_vqa",
    "metric": "accuracy",
    "max_new_tokens": 6,
    "min_new_tokens": 0,
}
TRAINING = {
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "warmup_ratio": 0.03,
    "max_grad_norm": 1.0,
    "epochs": 7,  # of 10 rows in steps of 4: 21 steps, every third one half full
    "batch_size": 4,
    "micro_batch_size": 1,  # four processes cannot have more
    "activation_checkpointing": "auto",
    "checkpoint_steps": 20,  # a loss is logged every second step
    "prompt_variants": False,
    "per_task": {},
}
CONFIG = {
    "backbone": {"dtype": "float32", "image_size": None, "max_tiles": 1},
    "profile": {"loss": "sample_mean", "include_bias": False, "batch_size": 2},
    "features": {"style": "max", "normalize": True, "batch_size": 3},
    "router": {"wordings": 0},
    "prediction": {"batch_size": 2},
    "expert": {"rank": 8, "alpha": 16, "qkv": "split", "dropout": 0.0},
    "training": TRAINING,
    "budget": {"ratio": 0.5},
    "method_options": {},
}


def give(folder: Path, backbone: Path) -> list[dict[str, Any]]:
    """Write inputs to a folder: ten rows, one of them without image, and the backbone."""
    from tests.conftest import make_row  # not in every process of a stage

    rows = [make_row(i, "What is it? " * (i % 3 + 1), f"a thing {'x' * (i % 4)}") for i in range(9)]
    rows.append(make_row(9, "Only text", "yes") | {"images": [], "width": None, "height": None})
    artifacts.write_table("data", folder / "rows.parquet", rows, task=TASK, provenance={})
    (folder / "backbone").symlink_to(backbone)
    return rows


def answer(given: Path, out: Path) -> None:
    """The backbone's answers."""
    rows = ["--data", f"{given}/rows.parquet", "--backbone", f"{given}/backbone"]
    file = f"{out}/backbone_predictions.parquet"
    predict_backbone.main([*rows, "--config", json.dumps(CONFIG), "--out", file])


def train_sharded(given: Path, out: Path) -> None:
    """An expert beside a language model that the processes divide."""
    train(given, out, CONFIG | {"training": TRAINING | {"sharding": "fsdp"}})


def train(given: Path, out: Path, config: dict[str, Any] = CONFIG) -> None:
    """An expert."""
    rows = ["--data", f"{given}/rows.parquet", "--backbone", f"{given}/backbone"]
    task = ["--method", "individual", "--task", "b", "--tasks", "a", "b", "--seed", "3"]
    files = ["--checkpoints", f"{out}/checkpoints", "--out", f"{out}/experts/b"]
    train_expert.main([*rows, *task, *files, "--config", json.dumps(config)])


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    given, out = map(Path, sys.argv[1:] if argv is None else argv)
    rows, backbone = f"{given}/rows.parquet", f"{given}/backbone"
    common = ["--backbone", backbone, "--config", json.dumps(CONFIG), "--out"]
    profile_gradients.main(["--subset", rows, *common, f"{out}/profile.parquet"])
    extract_features.main(["--rows", rows, *common, f"{out}/features.parquet"])
    task = ["--method", "individual", "--task", "b", "--data", rows]
    untouched = f"{out}/backbone_predictions.parquet"
    answer(given, out)
    distributed.wait()  # the file is read below by all processes, and written by the first
    routes = [
        "--untouched",
        untouched,
        "--routes",
        f"{given}/routes.parquet",
        "--states",
        f"{given}/states/b",
    ]
    predict.main([*task, *routes, *common, f"{out}/predictions.parquet"])
    train(given, out)


if __name__ == "__main__":
    cli.run(main)

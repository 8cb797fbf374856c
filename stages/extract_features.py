"""Compute sequence features of samples with the untouched backbone (D-MoLE, Eqs. 6-7).

Reads   subsets/{task}.parquet or data/{task}/test.parquet, and the backbone
Writes  features/{task}.parquet: one vector ``z`` per sample, an image half (of the thumbnail) and a
        text half (of the question), made as ``features.style`` says. Rows of a subset are also
        written in ``router.wordings`` other wordings each, for the routers that learn from them.
Config  features, router.wordings, backbone

    python -m stages.extract_features --rows results/pocket/seed0/subsets/signs_ocr.parquet \\
        --backbone results/backbones/pocket --config workflow/config/pocket.yaml \\
        --out results/pocket/seed0/features/signs_ocr.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.base import artifacts, cli, config, distributed, provenance
from stages.core.data.markers import without_places
from stages.core.dmole.rewording import rewordings


def texts_of(rows: list[dict[str, Any]], kind: str, count: int) -> list[list[str]]:
    """The first question of each row, and so many other wordings of it.

    Args:
        kind: the task's kind, which says what may be asked instead.
    """
    import numpy as np

    found = []
    for row in rows:
        question = without_places(row["turns"][0]["question"])
        random = np.random.default_rng(list(row["sample_id"].encode()))
        found.append([question, *rewordings(question, kind, count, random)])
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    for flag in ("--rows", "--backbone", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--workers", default="auto", help="key loader.workers of the configuration")
    parser.add_argument("--gpu-memory", default="auto", help="gigabytes: key gpus.memory")
    args = parser.parse_args(argv)
    keys = ("features", "router.wordings", "backbone")
    used = config.slice_config(config.from_argument(args.config), *keys)
    rows = artifacts.read_table("data", args.rows).to_pylist()
    task = artifacts.task_record(args.rows)
    subset = artifacts.metadata(args.rows).get("provenance", {}).get("stage") == "sample_subset"
    texts = texts_of(rows, task["kind"], used["router"]["wordings"] if subset else 0)

    from stages.core.backbone.features import extract_features, feature_sizes
    from stages.core.backbone.load import load_backbone
    from stages.core.costs import fitting
    from stages.core.training.loader import worker_count

    backbone = load_backbone(args.backbone, used["backbone"])
    backbone.workers = worker_count(args.workers)
    there = fitting.room(args.gpu_memory, backbone.device)
    size = fitting.features_batch(backbone, texts, used["features"]["batch_size"], there)
    settings = used["features"] | {"batch_size": size}
    z = extract_features(backbone, rows, texts=texts, **settings)
    if not distributed.is_first():
        return
    names = [
        (row["sample_id"], k) for row, own in zip(rows, texts, strict=True) for k in range(len(own))
    ]
    vision_dim, text_dim = feature_sizes(backbone)
    artifacts.write_table(
        "features",
        args.out,
        [{"sample_id": name, "wording": k, "z": z[i]} for i, (name, k) in enumerate(names)],
        task=task["name"],
        vision_dim=vision_dim,
        text_dim=text_dim,
        provenance=provenance.record(
            "extract_features",
            {"rows": args.rows, "backbone": args.backbone},
            used,
            device=backbone.place,
        ),
    )


if __name__ == "__main__":
    cli.run(main)

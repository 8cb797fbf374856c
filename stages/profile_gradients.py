"""Profile the gradient norms of the untouched backbone on a task's subset (D-MoLE, Eq. 3).

Reads   subsets/{task}.parquet and the backbone
Writes  profiles/{task}.parquet: per slot the Frobenius norm of the gradient of its weights, the
        norm's standard error over folds of the subset, and the loss
Config  profile, backbone

    python -m stages.profile_gradients --subset results/pocket/seed0/subsets/signs_ocr.parquet \\
        --backbone results/backbones/pocket --config workflow/config/pocket.yaml \\
        --out results/pocket/seed0/profiles/signs_ocr.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import artifacts, cli, config, distributed, provenance
from stages.core.dmole.gradients import profile_gradients

if TYPE_CHECKING:
    pass


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    for flag in ("--subset", "--backbone", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--workers", default="auto", help="key loader.workers of the configuration")
    parser.add_argument("--gpu-memory", default="auto", help="gigabytes: key gpus.memory")
    args = parser.parse_args(argv)
    used = config.slice_config(config.from_argument(args.config), "profile", "backbone")
    used["backbone"].pop("quantization", None)  # weights of 4 bits have no gradient
    rows = artifacts.read_table("data", args.subset).to_pylist()

    from stages.core.backbone.load import load_backbone
    from stages.core.costs import fitting
    from stages.core.training.loader import worker_count

    backbone = load_backbone(args.backbone, used["backbone"])
    backbone.workers = worker_count(args.workers)
    there = fitting.room(args.gpu_memory, backbone.device)
    size, again = fitting.profile_batch(backbone, rows, used["profile"]["batch_size"], there)
    settings = used["profile"] | {"batch_size": size}
    scores = profile_gradients(backbone, rows, checkpointing=again, **settings)
    if not distributed.is_first():
        return
    artifacts.write_table(
        "profile",
        args.out,
        scores,
        task=artifacts.task_of(args.subset),
        shapes={f"{s.tower}.{s.block}.{s.kind}": s.shapes for s in backbone.slots},
        provenance=provenance.record(
            "profile_gradients",
            {"subset": args.subset, "backbone": args.backbone},
            used,
            device=backbone.place,
        ),
    )


if __name__ == "__main__":
    cli.run(main)

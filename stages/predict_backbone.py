"""Answer a task's test rows with the untouched backbone, once for all methods and seeds.

These answers are step 0 of every method's matrix, and answer the samples that no router accepts.

Reads   the test rows and the backbone
Writes  backbone_predictions/{task}.parquet: one text per row, with an empty expert set
Config  prediction, backbone

A killed job resumes after the parts that it wrote (``core.backbone.parts``). Several jobs can
divide the rows: ``--shard``.

    python -m stages.predict_backbone --data results/pocket/data/signs_ocr/test.parquet \\
        --backbone results/backbones/pocket --config workflow/config/pocket.yaml \\
        --out results/pocket/backbone_predictions/signs_ocr.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.parts import WHOLE, Parts, Shard
from stages.core.base import artifacts, cli, config, distributed, provenance, stopping

if TYPE_CHECKING:
    from stages.core.backbone.batches import BatchSize
    from stages.core.backbone.load import Backbone


def predict_backbone(
    backbone: Backbone,
    rows: list[dict[str, Any]],
    parts: Parts,
    *,
    limits: dict[str, int],
    batch_size: BatchSize,
) -> list[dict[str, Any]]:
    """Answers without any expert: rows of ``artifacts.PREDICTIONS``, in the order of ``rows``.

    Args:
        parts: answers that an earlier job gave; takes those of this one.
        limits: ``max_new_tokens`` and ``min_new_tokens``.
    """
    from tqdm import tqdm

    from stages.core.backbone.decoding import answer_rows

    ids, known = [row["sample_id"] for row in rows], parts.known(())
    total = len(distributed.mine(parts.left((), ids))) // parts.shard.count
    with tqdm(total=total, unit="sample", mininterval=5, disable=not distributed.is_first()) as bar:
        keep = parts.keeper((), bar)
        found = answer_rows(
            backbone, backbone.model, rows, limits, batch_size, known, keep, parts.shard.share
        )
    done = [name for name in ids if name in found]
    return [{"sample_id": name, "experts": [], "text": found[name]} for name in done]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    for flag in ("--data", "--backbone", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--shard", type=Shard.of, default=WHOLE, help="such as 2/4: second of four")
    parser.add_argument("--done", type=Path, help="made when a shard's parts are there, not --out")
    parser.add_argument("--workers", default="auto", help="key loader.workers of the configuration")
    parser.add_argument("--gpu-memory", default="auto", help="gigabytes: key gpus.memory")
    args = parser.parse_args(argv)
    keys = ("prediction.batch_size", "backbone")
    used = config.slice_config(config.from_argument(args.config), *keys)
    task = artifacts.task_record(args.data)
    rows = artifacts.read_table("data", args.data).to_pylist()

    from stages.core.backbone.load import load_backbone
    from stages.core.costs import fitting
    from stages.core.training.loader import worker_count

    backbone = load_backbone(args.backbone, used["backbone"])
    backbone.workers = worker_count(args.workers)
    there = fitting.room(args.gpu_memory, backbone.device)
    limits = {key: task[key] for key in ("max_new_tokens", "min_new_tokens")}
    size = used["prediction"]["batch_size"]
    size = fitting.prediction_batch(backbone, backbone.model, limits, size, there)
    inputs = {"data": args.data, "backbone": args.backbone}
    record = provenance.record("predict_backbone", inputs, used, device=backbone.place)
    with stopping.deferred() as told, Parts(args.out, record, told, args.shard) as parts:
        found = predict_backbone(
            backbone,
            rows,
            parts,
            limits=limits,
            batch_size=size,
        )
    if args.done:
        parts.finish(args.done)
    if args.done or not distributed.is_first():
        return
    artifacts.write_table(
        "predictions",
        args.out,
        found,
        task=task["name"],
        method="zero_shot",
        provenance=record,
    )
    parts.remove()


if __name__ == "__main__":
    cli.run(main)

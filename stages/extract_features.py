"""Sequence features of samples from the untouched backbone (D-MoLE, Eqs. 6-7).

Reads rows and the backbone; writes one vector ``z`` per sample: the image half (max over the
vision encoder's last hidden states of the thumbnail) and the text half (max over the language
model's last hidden states of the bare question), concatenated and L2-normalised.

    python -m stages.extract_features --rows results/pocket/seed0/subsets/signs_ocr.parquet \\
        --backbone results/backbones/pocket --config workflow/config/pocket.yaml \\
        --out results/pocket/seed0/features/signs_ocr.parquet
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.backbone.features import extract_features
from stages.core.base import artifacts, cli, config, distributed, provenance

if TYPE_CHECKING:
    pass


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    for flag in ("--rows", "--backbone", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args(argv)
    used = config.slice_config(config.from_argument(args.config), "features", "backbone")
    rows = artifacts.read_table("data", args.rows).to_pylist()

    from stages.core.backbone.features import feature_sizes
    from stages.core.backbone.load import load_backbone

    backbone = load_backbone(args.backbone, used["backbone"])
    z = extract_features(backbone, rows, **used["features"])
    if not distributed.is_first():
        return
    vision_dim, text_dim = feature_sizes(backbone)
    artifacts.write_table(
        "features",
        args.out,
        [{"sample_id": row["sample_id"], "z": z[i]} for i, row in enumerate(rows)],
        task=artifacts.task_of(args.rows),
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

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
from typing import TYPE_CHECKING, Any

from stages.core import artifacts, cli, config, distributed, provenance

if TYPE_CHECKING:
    import numpy as np

    from stages.core.backbone import Backbone


def extract_features(
    backbone: Backbone, rows: list[dict[str, Any]], *, normalize: bool, batch_size: int
) -> np.ndarray:
    """Features ``(n, d_v + d_t)`` float32 of rows of the data artefact.

    The batches are divided among the processes; all of them return all features.
    Only the first image counts, as one thumbnail tile; a row without image has zeros for the
    image half. The text is the first turn's question as the tokenizer encodes plain text.
    """
    import numpy as np
    import torch

    from stages.core.backbone import feature_sizes, image_features, text_features

    d_v, d_t = feature_sizes(backbone)
    z = np.zeros((len(rows), d_v + d_t), dtype=np.float32)
    parts = distributed.mine(
        [range(len(rows))[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    )
    with torch.inference_mode():
        for part in parts:
            tiles = {i: backbone.prompter.thumbnail(rows[i]) for i in part}
            seen = [i for i in part if tiles[i] is not None]
            if seen:
                stacked = backbone.to_device({"pixel_values": torch.cat([tiles[i] for i in seen])})
                vision = image_features(backbone, stacked["pixel_values"])
                z[seen, :d_v] = vision.cpu().numpy()
            text = text_features(backbone, [rows[i]["turns"][0]["question"] for i in part])
            z[list(part), d_v:] = text.cpu().numpy()
    for done in distributed.gather([(list(part), z[list(part)]) for part in parts]):
        for part, values in done:
            z[part] = values
    return z / np.linalg.norm(z, axis=1, keepdims=True) if normalize else z


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    for flag in ("--rows", "--backbone", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args(argv)
    used = config.slice_config(config.from_argument(args.config), "features", "backbone")
    rows = artifacts.read_table("data", args.rows).to_pylist()

    from stages.core.backbone import feature_sizes, load_backbone

    backbone = load_backbone(args.backbone, used["backbone"])
    z = extract_features(backbone, rows, **used["features"])
    if not distributed.is_first():
        return
    vision_dim, text_dim = feature_sizes(backbone)
    artifacts.write_table(
        "features",
        args.out,
        [{"sample_id": row["sample_id"], "z": z[i]} for i, row in enumerate(rows)],
        task=artifacts.task_of(args.rows)["name"],
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

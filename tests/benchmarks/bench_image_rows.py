"""How long a CPU takes to prepare a row's image for a batch: seven tiles of 448 pixels.

    PYTHONPATH=. python tests/benchmarks/bench_image_rows.py --rows 20

Compares, in one run and turn by turn, pixels that stay bytes until they are on the model's device
with pixels that are normalised beforehand. Prints milliseconds of computing per row and the ratio.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from stages.core.backbone import tiling
from stages.core.backbone.families.internvl import InternVL
from stages.core.backbone.prompts import Prompter
from stages.core.data.images import open_rgb

SIZE, MAX_TILES, TILE = (640, 480), 6, 448


def photo(seed: int) -> dict[str, Any]:
    """A row with a JPEG as smooth as a photo."""
    small = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return {"images": [{"bytes": stream.getvalue(), "path": None}]}


def prompter() -> Prompter:
    """As of an InternVL2, without a tokenizer."""
    config = SimpleNamespace(vision_config=SimpleNamespace(patch_size=14), downsample_ratio=0.5)
    stored = {"size": {"height": TILE}, "image_mean": [0.485, 0.456, 0.406]}
    stored |= {"image_std": [0.229, 0.224, 0.225]}
    settings = {"image_size": None, "max_tiles": MAX_TILES}
    return Prompter(None, InternVL(Path(), config, stored, settings))


def normalised_early(images: InternVL, row: dict[str, Any]) -> torch.Tensor:
    """Float pixels of a row, as they were made before."""
    tiles = tiling.cut(open_rgb(row["images"][0]), MAX_TILES, TILE)
    stacked = np.stack([np.asarray(tile.convert("RGB"), dtype=np.float32) for tile in tiles])
    mean, std = np.asarray(images.mean, np.float32), np.asarray(images.std, np.float32)
    scaled = (stacked / 255.0 - mean) / std
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32))


def milliseconds(work: Callable[[], torch.Tensor]) -> float:
    """Of computing, with the copy into a batch."""
    start = time.process_time()
    torch.cat([work()])
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    made, early, late = prompter(), [], []
    for seed in range(args.rows):
        row = photo(seed)
        early.append(milliseconds(lambda row=row: normalised_early(made.images, row)))
        late.append(milliseconds(lambda row=row: made.pixel_values(row)))
    before, after = statistics.median(early), statistics.median(late)
    print(
        f"normalised beforehand {before:.1f} ms a row, bytes {after:.1f} ms; "
        f"{before / after:.2f} times as fast"
    )


if __name__ == "__main__":
    main()

"""How long a GPU waits for rows, with and without processes that load ahead.

    python tests/benchmarks/bench_loading.py        (half a minute)

The device is a sleep of 0.25 s a row, about a training step's row of InternVL2-2B on an A100; rows
are JPEGs that become seven tiles of 448 pixels. Prints Markdown: CPU seconds of a row, and the
share of the time that the device waits, measured after the first row with as many workers as
there are cores, and beyond that from the CPU seconds.
"""

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stages.core.backbone.architecture import locate, read_config  # noqa: E402
from stages.core.backbone.families import registry  # noqa: E402
from stages.core.base.ahead import ahead  # noqa: E402
from stages.core.data.images import open_rgb  # noqa: E402

ROWS, STEP = 24, 0.25
SETTINGS = {"image_size": None, "max_tiles": 6}


def photo(seed: int) -> dict:
    """A JPEG of 1200 x 800 with structure at all scales."""
    random = np.random.default_rng(seed)
    sheet = np.zeros((800, 1200, 3), np.float32)
    for side in (2, 10, 50, 200):
        small = random.uniform(0, 64, (side * 2, side * 3, 3)).astype(np.uint8)
        sheet += np.asarray(Image.fromarray(small).resize((1200, 800)), np.float32)
    file = io.BytesIO()
    Image.fromarray(sheet.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return {"bytes": file.getvalue(), "path": None}


def main() -> None:
    """Print the table."""
    folder = locate("internvl2-2b")
    config, stored = read_config(folder)
    family = registry.FAMILIES[config.model_type](folder, config, stored, SETTINGS)
    images = [photo(seed) for seed in range(ROWS)]

    def tiles(image: dict) -> object:
        return family.pixels([open_rgb(image)])

    assert len(tiles(images[0])) == 7
    begun = time.process_time()
    for image in images:
        tiles(image)
    row = (time.process_time() - begun) / ROWS
    print(f"{row * 1000:.0f} ms of CPU a row of 7 tiles; {ROWS} rows, {STEP} s each\n")
    print("| workers | the device waits |\n|---|---|")
    for workers in range(len(os.sched_getaffinity(0)) + 1):
        rows = ahead(images, tiles, workers)
        next(rows)
        begun = time.perf_counter()
        for _ in rows:
            time.sleep(STEP)
        waiting = 1 - (ROWS - 1) * STEP / (time.perf_counter() - begun)
        print(f"| {workers} | {waiting:.1%} |")
    for workers in (3, 7):
        print(f"| {workers} | {max(0.0, 1 - STEP * workers / row):.1%} (from the CPU seconds) |")


if __name__ == "__main__":
    main()

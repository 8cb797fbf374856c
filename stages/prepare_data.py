"""Convert one split of a task's data to the pipeline's table, or report what is wrong with it.

Reads   a manifest and the files that it names (see workflow/schemas/manifest.schema.yaml)
Writes  a Parquet table of rows: images, turns with the prompt applied, references, ...

    python -m stages.prepare_data --manifest data_manifests/pocket/maps_ground.yaml \\
        --split train --max-pixels 20000000 --out results/pocket/data/maps_ground/train.parquet
    python -m stages.prepare_data --check my_task.yaml

Every row is checked, also with --rows, which keeps a seeded choice of them in the file's order.
With --held-out the test split is that many training rows, chosen by the seed, and the training
split the others.
A single fault means that nothing is written. Images in files are not copied: the table holds
their paths. Their header and end are looked at, --decode reads them in full; images embedded in
the data are copied and always read in full. --check looks at both splits, prints every fault by
row, and writes nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pyarrow as pa

from stages.core.base import artifacts, cli, provenance
from stages.core.base.config import schema
from stages.core.base.errors import InputError
from stages.core.base.sampling import pick
from stages.core.data.manifests import Manifest, load_manifest
from stages.core.data.rows import sound_rows
from stages.core.data.samples import Converter

EXIF = schema("config")["properties"]["image"]["properties"]["exif"]
BATCH_ROWS = 4096
BATCH_BYTES = 32 << 20  # of embedded images


def prepare_data(
    manifest: Manifest,
    split_name: str,
    max_pixels: int,
    out: Path,
    *,
    exif: str = "apply",
    rows: int | None = None,
    held_out: int | None = None,
    seed: int | None = None,
    decode: bool = False,
) -> int:
    """Write the split's rows to ``out``; ``rows`` keeps so many, chosen by ``seed``.

    With ``held_out``, rows of both splits come from the training split: so many, chosen by
    ``seed``, are the test rows, the others the training rows.

    Returns how many rows were written. Memory is bounded by the batch, but for the row names.
    Raises :class:`InputError` for faulty rows (all of them in one message) and an empty task.
    """
    split = manifest.split("train" if held_out else split_name)
    converter = Converter(manifest, split, max_pixels, exif=exif, decode=decode)
    chosen = None
    if rows or held_out:
        total = sum(1 for _ in sound_rows(manifest, split, converter))
        chosen = _chosen(f"{manifest.name}/{split_name}", total, rows, held_out, seed)
        converter = Converter(manifest, split, max_pixels, exif=exif)
    fields = {
        "task": manifest.task,
        "provenance": provenance.record(
            "prepare_data",
            {"manifest": manifest.path, **split.files},
            {"split": split_name, "max_pixels": max_pixels, "exif": exif}
            | {"rows": rows, "held_out": held_out},
            seed=seed,
        ),
    }
    written = 0
    with artifacts.table_writer("data", out, **fields) as writer:
        kept = sound_rows(manifest, split, converter, chosen)
        for batch in _batches(kept):
            writer.write_table(pa.Table.from_pylist(batch, schema=artifacts.DATA))
            written += len(batch)
    return written


def _chosen(name: str, total: int, rows: int | None, held_out: int | None, seed: int) -> set[int]:
    """Positions of the rows to keep."""
    task, split = name.rsplit("/", 1)
    left = list(range(total))
    if held_out:
        if held_out >= total:
            raise InputError(
                f"rows.held_out: {held_out} of the {total} training rows of {task} leave none to "
                f"train on. Allowed: 1 to {total - 1}."
            )
        apart = pick(total, held_out, seed, f"{task}/held out")
        left = apart if split == "test" else sorted({*left} - {*apart})
    return {left[at] for at in pick(len(left), rows or total, seed, name)}


def _batches(rows: Iterator[dict]) -> Iterator[list[dict]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += sum(len(image["bytes"] or b"") for image in row["images"])
        if len(batch) == BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def unexpected(expected: int | None, count: int) -> str | None:
    """What to say of a number of rows that the manifest does not expect."""
    if expected in (None, count):
        return None
    return f"{count} rows where the manifest expects {expected}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__, config=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", type=Path, help="prepare a split of the task of this YAML file")
    what.add_argument(
        "--check", type=Path, metavar="MANIFEST", help="report on both splits instead"
    )
    parser.add_argument("--split", choices=("train", "test"), help="which split to prepare")
    parser.add_argument("--max-pixels", type=int, help="largest image allowed (default, config's)")
    parser.add_argument(
        "--exif", choices=EXIF["enum"], default=EXIF["default"], help="orientation of photographs"
    )
    parser.add_argument("--rows", type=int, help="keep so many rows, chosen by --seed")
    parser.add_argument(
        "--held-out", type=int, help="test on so many training rows, chosen by --seed"
    )
    parser.add_argument("--seed", type=int, help="seed of --rows and --held-out")
    parser.add_argument("--root", type=Path, help="data root, instead of the manifest's")
    parser.add_argument("--decode", action="store_true", help="read every image in full")
    parser.add_argument("--backbone", type=Path, help="of --check: count rows beyond its context")
    parser.add_argument("--out", type=Path, help="the Parquet file to write")
    args = parser.parse_args(argv)
    if not args.check and not (args.split and args.out):
        parser.error("--split and --out are needed with --manifest")
    choices = [number for number in (args.rows, args.held_out) if number is not None]
    if bool(choices) != (args.seed is not None) or any(number < 1 for number in choices):
        parser.error("--rows or --held-out (at least 1) and --seed go together")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    args = _arguments(argv)
    manifest = load_manifest(args.check or args.manifest, args.root)
    max_pixels = args.max_pixels or schema("config")["properties"]["max_pixels"]["default"]
    if args.check:
        # by name: a check looks at scores, and an edit of a score must not prepare data again
        tool = import_module("stages.tools.check_data")
        looked_at = {"exif": args.exif, "decode": args.decode, "backbone": args.backbone}
        tool.check_data(manifest, max_pixels, **looked_at)
        return
    written = prepare_data(
        manifest,
        args.split,
        max_pixels,
        args.out,
        exif=args.exif,
        rows=args.rows,
        held_out=args.held_out,
        seed=args.seed,
        decode=args.decode,
    )
    expected = None if args.rows or args.held_out else manifest.content[args.split].get("rows")
    if note := unexpected(expected, written):
        print(f"warning: {args.manifest}: {args.split}: {note}", file=sys.stderr)
    print(f"{args.out}: {written} rows")


if __name__ == "__main__":
    cli.run(main)

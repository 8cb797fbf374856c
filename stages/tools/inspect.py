"""Print any artefact of the pipeline so that a person can read it.

Reads   a Parquet file, a JSON file (allocation, router, transfer, metrics), a safetensors file or
        an expert's folder
Writes  to the terminal; plain text when piped

    cmit inspect results/pocket/seed0/allocations/iconqa.json
    cmit inspect results/pocket/seed0/dmole/predictions/iconqa.parquet --samples 5
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError
from stages.core.base.reading import read_object, reading

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS = {"allocation": "slots", "router": "calibration", "transfer": "parent", "metrics": "runs"}
"""A key by which each kind of JSON artefact is recognised."""


def inspect(path: Path, n_rows: int = 3) -> Iterator[RenderableType]:
    """Show one artefact, by its kind.

    Args:
        path: a file or an expert's folder.
        n_rows: rows to show of a table.

    Raises:
        InputError: no such file, a kind of file that is no artefact, or a damaged one.
    """
    if n_rows < 1:
        raise InputError(f"--rows: {n_rows} is not a positive number.")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if path.is_dir():
        yield from _folder(path)
        return
    with reading(path, "an artefact"):
        if path.suffix == ".parquet":
            yield from _parquet(path, n_rows)
        elif path.suffix == ".json":
            yield from _json(path)
        elif path.suffix == ".safetensors":
            yield from _safetensors(path)
        else:
            raise InputError(
                f"{path}: cannot show {path.suffix or 'a file without suffix'}; "
                "give a .parquet, .json or .safetensors file, or an expert's folder."
            )


def answers(path: Path, count: int) -> Iterator[RenderableType]:
    """The first samples behind a file of predictions, with what was asked, wanted and scored.

    Raises:
        InputError: not the predictions of a run.
    """
    from stages.core.runs.find_run import find_run
    from stages.core.runs.samples import read_samples
    from stages.tools.examples import show

    sheet, _ = find_run(path)
    for run in sheet.runs:
        for task, file in run.artefacts.get("predictions", {}).items():
            if file.exists() and file.samefile(path):
                for sample in read_samples(sheet, run, task)[:count]:
                    yield from show(sample)
                return
    raise InputError(f"--samples: {path} holds no predictions of a run of {sheet.path}.")


def _json(path: Path) -> Iterator[RenderableType]:
    from stages.tools import display

    content = read_object(path)
    kind = next((kind for kind, mark in MARKS.items() if mark in content), None)
    if kind is None:
        raise InputError(
            f"{path}: none of the JSON artefacts ({', '.join(MARKS)}); "
            "for the files of an expert give its folder."
        )
    content = artifacts.read_json(kind, path)
    yield from getattr(display, kind)(content)
    yield from display.provenance(content["provenance"])


def _parquet(path: Path, n_rows: int) -> Iterator[RenderableType]:
    import pyarrow.parquet as pq

    from stages.tools import display

    with reading(path, "Parquet"):
        file = pq.ParquetFile(path)
    notes = {}
    if b"cmit" in (file.schema_arrow.metadata or {}):
        notes = artifacts.metadata(path)
    origin = notes.pop("provenance", None)
    if notes.get("schema") == "routes":
        rows = artifacts.read_table("routes", path).to_pylist()
        yield from display.routes(rows, notes["task"], notes["method"])
    yield f"{file.metadata.num_rows:,} rows, {path.stat().st_size:,} bytes"
    for key, value in notes.items():
        yield f"{key}: {display.short(value, 150)}"
    types = {field.name: str(field.type) for field in file.schema_arrow}
    head = islice((row for batch in file.iter_batches(n_rows) for row in batch.to_pylist()), n_rows)
    yield from display.parquet_head(types, list(head))
    if origin:
        yield from display.provenance(origin)


def _tensors(path: Path) -> tuple[list[tuple[str, str, list[int], int]], dict[str, str]]:
    """(name, dtype, shape, bytes) of each tensor, and the file's metadata; no tensor is loaded."""
    from math import prod
    from re import search

    from safetensors import safe_open

    with reading(path, "safetensors"), safe_open(path, framework="numpy") as handle:
        found = []
        for name in sorted(handle.keys()):
            part = handle.get_slice(name)
            dtype, shape = part.get_dtype(), part.get_shape()
            bits = 8 if dtype == "BOOL" else int(search(r"\d+", dtype).group())
            found.append((name, dtype, shape, prod(shape) * bits // 8))
        return found, handle.metadata() or {}


def _safetensors(path: Path) -> Iterator[RenderableType]:
    from stages.tools import display

    entries, metadata = _tensors(path)
    notes = json.loads(metadata.pop("cmit", "{}"))
    origin = json.loads(notes.pop("provenance", "{}"))
    for key, value in (metadata | notes).items():
        yield f"{key}: {display.short(value, 150)}"
    yield from display.tensors(entries)
    if origin:
        yield from display.provenance(origin)


def _folder(path: Path) -> Iterator[RenderableType]:
    from stages.tools import display

    weights, config = path / "adapter_model.safetensors", path / "adapter_config.json"
    others = sorted(set(path.glob("*.safetensors")) - {weights})
    if not (weights.is_file() and config.is_file()) and not others:
        names = ", ".join(sorted(item.name for item in path.iterdir())) or "nothing"
        raise InputError(
            f"{path}: not an expert's folder (adapter_config.json and adapter_model.safetensors, "
            f"or other safetensors files of a method); it holds {names}. Give one file."
        )
    if weights.is_file() and config.is_file():
        shapes = {name: shape for name, _, shape, _ in _tensors(weights)[0]}
        with reading(weights, "an adapter"):
            yield from display.adapter(artifacts.read_json("adapter", config), shapes)
    for file in others:
        yield file.name
        yield from display.tensors(_tensors(file)[0])
    if (path / "training.json").is_file():
        yield from display.training(artifacts.read_json("training", path / "training.json"))
    if (path / "provenance.json").is_file():
        with reading(path / "provenance.json", "provenance"):
            yield from display.provenance(read_object(path / "provenance.json"))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("path", type=Path, metavar="PATH", help="file or expert folder")
    parser.add_argument("--rows", type=int, default=3, help="rows to show of a table (default 3)")
    parser.add_argument(
        "--samples", type=int, help="of predictions: so many with question, references and score"
    )
    args = parser.parse_args(argv)

    if args.samples is not None and args.samples < 1:
        raise InputError(f"--samples: {args.samples} is not a positive number.")

    from stages.tools.display import console

    shown = answers(args.path, args.samples) if args.samples else inspect(args.path, args.rows)
    out = console()
    for item in list(shown):  # nothing of a file that is damaged
        out.print(item)


if __name__ == "__main__":
    cli.run(main)

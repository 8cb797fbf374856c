"""What a job made before, kept until it is known whether the job would make anything else.

Snakemake deletes the outputs of a job and starts it, also where only a time is new. Outputs of
costly stages are moved aside instead (workflow/rules/before.smk), with the job's file of run times.
The stage takes them back if they are what it would make again: of the same inputs, settings, seed
and code, and with the content that was written then. Otherwise they go once the job has succeeded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.core.base import distributed
from stages.core.base.errors import InputError
from stages.core.base.provenance import file_hash

UNCOMPARED = ("device", "versions")  # as for all that is there: a run names other versions
NO_CONTENT = ("provenance.json", ".snakemake_timestamp")  # names the content; is Snakemake's


def aside(path: Path) -> Path:
    """Where an output waits while its job runs."""
    return path.with_name(f".{path.name}.before")


def move_aside(outputs: Sequence[Path], benchmark: Path | None) -> None:
    """Before a job: move its outputs and its file of run times, if the outputs are there."""
    if not all(path.exists() for path in outputs):
        return
    discard(*outputs, benchmark)
    for path in filter(None, (*outputs, benchmark)):
        if path.exists():
            path.rename(aside(path))


def settle(outputs: Sequence[Path], benchmark: Path | None) -> None:
    """After a job that succeeded: outputs that are still aside were made anew. If they were taken
    back, so are the run times of the job that made them."""
    taken_back = not any(aside(path).exists() for path in outputs)
    if benchmark and taken_back:
        with suppress(FileNotFoundError):
            aside(benchmark).replace(benchmark)
    discard(*outputs, benchmark)


def discard(*paths: Path | None) -> None:
    """Delete what waits aside of paths."""
    for old in map(aside, filter(None, paths)):
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)  # another process may do the same
        else:
            old.unlink(missing_ok=True)


def take_back(
    out: Path, record: Mapping[str, Any], recorded: Callable[[Path], Mapping[str, Any]]
) -> bool:
    """Whether the output was there before, as this job would make it; then it is there again.

    Args:
        record: the provenance of what the job would make.
        recorded: reads that of an output; raises :class:`InputError` if there is none, or the
            content is not the one that was written with it.
    """
    if distributed.size() > 1:  # all processes of a job decide the same
        distributed.connect()
    same = distributed.gather(distributed.is_first() and _is_same(out, record, recorded))[0]
    if same and distributed.is_first():
        aside(out).rename(out)
        print(f"{out}: was there, of the same inputs, settings and code; kept", flush=True)
    return same


def _is_same(
    out: Path, record: Mapping[str, Any], recorded: Callable[[Path], Mapping[str, Any]]
) -> bool:
    if out.exists() or not aside(out).exists():
        return False
    try:
        before = recorded(aside(out))
    except InputError:
        return False
    return _compared(before) == _compared(json.loads(json.dumps(record)))


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in UNCOMPARED}


def folder_content(folder: Path) -> str:
    """SHA-256 of a folder's files (name and content) without its record."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    lines = [f"{name} {file_hash(files[name])}\n" for name in sorted(files.keys() - {*NO_CONTENT})]
    return hashlib.sha256("".join(lines).encode()).hexdigest()

"""The run that a person means by a folder: of a stream, of one of its runs, or its run sheet."""

from __future__ import annotations

import os
from pathlib import Path

from stages.core.base.errors import InputError
from stages.core.runs.run_sheet import Run, RunSheet
from stages.core.runs.runs import split_scope
from stages.core.runs.stage_table import artefact

SHEET = artefact("runs").path


def find_run(path: Path, name: str | None = None, seed: int | None = None) -> tuple[RunSheet, Run]:
    """The run sheet, and a run of it.

    Args:
        path: the results of a stream or sweep, a folder or file below them, or the run sheet.
        name: a method or variant; None: that of the folder, else the sheet's first.
        seed: None: that of the folder, else the first under which it ran.

    Raises:
        InputError: no such folder, no run sheet, or no such run.
    """
    path = Path(os.path.normpath(path))
    sheet = RunSheet(_sheet_of(path))
    below = path.absolute().parts[len(sheet.root.absolute().parts) :]
    folder, run = split_scope("/".join(below[:2]))
    name = name or (run if run in {other.name for other in sheet.runs} else None)
    name = name or sheet.runs[0].name
    if seed is None and folder:
        seed = int(folder.removeprefix("seed"))
    if seed is None:
        seed = next((other.seed for other in sheet.runs if other.name == name), 0)
    return sheet, sheet.run(name, seed)


def _sheet_of(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    for place in (path, *path.parents, *path.absolute().parents):
        if place.is_file() and place.name == SHEET:
            return place
        if (place / SHEET).is_file():
            return place / SHEET
    raise InputError(
        f"{path}: no run here, because neither it nor a folder above holds {SHEET}. Name the "
        "results of a stream, such as results/pocket; in an unfinished run, let snakemake make "
        f"its {SHEET}."
    )

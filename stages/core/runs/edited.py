"""Which runs rest on what a person decided instead of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.core.base.artifacts import read_json
from stages.core.base.edits import EDITABLE, is_sealed
from stages.core.runs.run_sheet import RunSheet


@dataclass(frozen=True)
class Edit:
    """An artefact of a run that is not what the stage decided."""

    run: str
    seed: int
    task: str
    artefact: str
    how: str


def find_edits(sheet: RunSheet) -> list[Edit]:
    """Every edited or overridden artefact that a run of the sheet uses."""
    how = {file: _how(name, file) for name in EDITABLE for _, _, file in sheet.files(name)}
    return [
        Edit(run.name, run.seed, task, name, how[file])
        for run in sheet.runs
        for name in EDITABLE
        for task, file in run.artefacts.get(name, {}).items()
        if how[file]
    ]


def _how(name: str, file: Path) -> str:
    """How a person changed a file; empty: the stage decided."""
    content = read_json(name, file)
    if not is_sealed(content):
        return "edited in place"
    return "from overrides" if content["provenance"].get("stage") == "take_override" else ""

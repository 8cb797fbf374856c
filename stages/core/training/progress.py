"""How far a training is: a small file beside its checkpoints, for people who follow a run.

It is no artefact: nothing is made from it, and it goes with the checkpoints.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from stages.core.base.writing import replacing

NAME = "progress.json"


def write_progress(checkpoints: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step."""
    with replacing(checkpoints / NAME) as draft:
        draft.write_text(json.dumps(content, sort_keys=True) + "\n")


def read_progress(checkpoints: Path) -> dict[str, Any]:
    """What a training last said; empty where there is nothing, or nothing that can be read."""
    with suppress(OSError, ValueError):
        found = json.loads((checkpoints / NAME).read_text())
        return found if isinstance(found, dict) else {}
    return {}

"""Checkpoints of a training run: which run they belong to, and which are complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers.trainer_utils import sort_checkpoints

from stages.core.base.writing import make_folder

FINGERPRINT = "fingerprint.json"
COMPLETE = "complete"  # an empty file, the last that a checkpoint gets


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; a run can be killed while it saves one."""
    found = sort_checkpoints(str(folder), use_mtime=False) if folder.is_dir() else []
    return next((path for path in reversed(found) if (Path(path) / COMPLETE).is_file()), None)


def claim(checkpoints: Path, fingerprint: dict[str, Any]) -> None:
    """Keep the folder if its fingerprint is this run's; otherwise start it anew."""
    note = checkpoints / FINGERPRINT
    text = json.dumps(fingerprint, sort_keys=True)
    if note.is_file() and note.read_bytes() == text.encode():
        return
    if checkpoints.exists():
        shutil.rmtree(checkpoints)
    make_folder(checkpoints)
    note.write_text(text)

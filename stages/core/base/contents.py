"""Hashes of files that come from outside, so that their content decides what runs again.

A large file is read once: its hash is kept with size and times, and stands as long as these do.
The time of the last change (ctime) is among them, which no copying tool can set back.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from stages.core.base.provenance import file_hash
from stages.core.base.writing import replacing


class Contents:
    """The hashes, kept in a file between runs."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._known: dict[str, list] = {}
        with suppress(OSError, ValueError):
            self._known = json.loads(store.read_text())

    def hash(self, path: Path) -> str:
        """SHA-256 of a file or folder; empty where there is none."""
        if not path.exists():
            return ""
        stamp, name = _stamp(path), str(path.absolute())
        if self._known.get(name, [None])[0] != stamp:
            self._known[name] = [stamp, file_hash(path)]
            with suppress(OSError), replacing(self.store) as draft:  # read-only: only slower
                draft.write_text(json.dumps(self._known, sort_keys=True))
        return self._known[name][1]


def _stamp(path: Path) -> list[int]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = [file.stat() for file in files]
    return [part for s in found for part in (s.st_size, s.st_mtime_ns, s.st_ctime_ns)]

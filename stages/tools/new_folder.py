"""A folder that appears as a whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.base.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary sibling that becomes the folder ``out`` when the block ends well.

    Raises:
        InputError: ``out`` is a file, or a folder that holds something.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder that is not there yet.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a folder that is not there yet.")
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)

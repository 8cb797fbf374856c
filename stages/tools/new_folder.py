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
        InputError: ``out`` is a file or below one, or a folder that holds something.
    """
    _check_free(out)
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        draft.mkdir(parents=True)
    except NotADirectoryError:
        raise InputError(f"{out}: lies below a file; name another folder.") from None
    try:
        yield draft
        _check_free(out)  # another process may have been faster
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder that is not there yet.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a folder that is not there yet.")

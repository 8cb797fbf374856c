"""Writing files in one step, and what a full or closed disk says."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.base.errors import InputError

# What a user or an administrator can mend; any other failed system call is a fault of ours.
STORAGE_ADVICE = {
    errno.EACCES: "check the owner and the permissions of the folder.",
    errno.EPERM: "check the owner and the permissions of the folder.",
    errno.EROFS: "choose another folder: key output of the configuration.",
    errno.ENOSPC: "free some space and run again; what is finished is kept.",
    errno.EDQUOT: "free some of your quota and run again; what is finished is kept.",
}


@contextmanager
def saving(place: Path) -> Iterator[None]:
    """Turn what libraries raise when they cannot store into an ``OSError`` that names the place.

    Raises:
        OSError: with an error number of ``STORAGE_ADVICE``; anything else passes as it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            raise
        if number := _storage_fault(error):
            raise OSError(number, os.strerror(number), str(place)) from error
        raise


def _storage_fault(error: BaseException) -> int | None:
    """The error number of the disk behind an error, which may be wrapped or only in words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in STORAGE_ADVICE:
            return cause.errno
        if "inline_container" in str(cause):  # torch.save gives no reason when a write fails
            return errno.ENOSPC
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in str(cause):
                return number
        cause = cause.__cause__ or cause.__context__
    return None


def _umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling that becomes ``path`` when the block ends well, else disappears.

    Raises:
        InputError: a folder is in the place of the file, or a file in the place of its folder.
        OSError: the disk is full or closed; names the folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder is where this file goes; move it away.")
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with saving(path.parent):
            yield draft
            draft.chmod(0o666 & ~_umask())  # some libraries write for their owner alone
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder with those above it.

    Raises:
        InputError: a file has the name of one of them.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path}: a file is where this folder goes; move it away.") from None

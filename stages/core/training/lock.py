"""One training per expert folder, also between the nodes of a shared file system.

Beside the folder lies a lock file that says who trains and whose time stamp moves while it does.
Whether the holder of a lock still lives is told by

- the kernel, on the same host: the holder keeps the file locked (``flock``) until it ends, however
  it ends, so that a killed training goes on at once;
- the time stamp, from elsewhere: a stamp that moves is a sign of life, one that stands still for
  ``PATIENCE`` seconds of the watcher's own clock is none.

``flock`` alone would not do, since on some parallel file systems it counts on its own node only;
nor would the stamp's age, since the clocks of nodes differ. A holder that lost its lock, because it
was suspended and taken for dead, ends by itself before it replaces anything.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

from stages.core.base.errors import InputError
from stages.core.base.writing import make_folder

BEAT = 30.0  # seconds between two signs of life
PATIENCE = 300.0  # seconds without one after which a holder on another host is dead
PAUSE = 1.0  # seconds between two looks at another's lock


class Lock:
    """A lock file that this process holds."""

    def __init__(self, folder: Path) -> None:
        """Take the lock, once a holder before is known to have ended.

        Raises:
            InputError: a training of the folder is alive.
        """
        self.folder, self.path = folder, folder.with_name(f".{folder.name}.lock")
        self.said = json.dumps(
            {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "job": os.environ.get("SLURM_JOB_ID"),
                "since": datetime.now().astimezone().isoformat(timespec="seconds"),
                "key": uuid.uuid4().hex,
            }
        )
        make_folder(folder.parent)
        self._handle = self._create()

    def _create(self) -> int:
        while True:
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
                break
            except FileExistsError:
                _outlive(self.path, self.folder)
                self.path.unlink(missing_ok=True)
        with suppress(OSError):  # where there is no flock, the time stamp alone counts
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, self.said.encode())
        return handle

    def held(self) -> bool:
        """Whether the lock is still this process's."""
        try:
            return self.path.read_text() == self.said
        except FileNotFoundError:
            return False

    def check(self) -> None:
        """Make sure of the lock before a result replaces another.

        Raises:
            InputError: it was taken.
        """
        if not self.held():
            raise InputError(
                f"{self.folder}: another training took over, or {self.path} was deleted; "
                "this one ends and replaces nothing."
            )

    def beat(self, ended: Event) -> None:
        """Move the time stamp until the training has ended; end the process if the lock is lost."""
        while not ended.wait(BEAT):
            try:
                self.check()
                os.utime(self._handle)
            except InputError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            except OSError as error:  # a file server may be away for a while
                print(f"{self.path}: {error.strerror}; trying again", file=sys.stderr, flush=True)

    def release(self) -> None:
        """Delete the lock file if it is still this process's."""
        if self.held():
            self.path.unlink()
        os.close(self._handle)


@contextmanager
def only_training(folder: Path) -> Iterator[Lock]:
    """Hold the lock of an expert folder.

    Raises:
        InputError: a training of the folder is alive.
    """
    lock, ended = Lock(folder), Event()
    beating = Thread(target=lock.beat, args=(ended,), daemon=True)
    beating.start()
    try:
        yield lock
    finally:
        ended.set()
        beating.join()
        lock.release()


def _outlive(path: Path, folder: Path) -> None:
    """Return when the holder of a lock has ended; raises :class:`InputError` if it lives."""
    said, first = _content(path), _stamp(path)
    here = said.get("host") == socket.gethostname()
    deadline = time.monotonic() + PATIENCE
    told = False
    while first and not (here and _is_free(path)) and time.monotonic() < deadline:
        if not told:
            print(f"{folder}: was being trained by {_who(said)}; is it alive?", flush=True)
            told = True
        time.sleep(PAUSE)
        now = _stamp(path)
        if now and now != first:
            raise InputError(
                f"{folder}: is being trained by {_who(said)}. Wait for its end, or end it, and run "
                f"again; what it has learnt so far is kept. Its lock is {path}."
            )
        first = now


def _content(path: Path) -> dict[str, Any]:
    """What a lock says of its holder; nothing while it is being written, or if it is damaged."""
    with suppress(OSError, ValueError):
        said = json.loads(path.read_text())
        return said if isinstance(said, dict) else {}
    return {}


def _who(said: dict[str, Any]) -> str:
    job = f", SLURM job {said['job']}" if said.get("job") else ""
    place = f"process {said.get('process', '?')} on {said.get('host', 'an unknown host')}"
    return f"{place}{job}, since {said.get('since', 'an unknown time')}"


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when the holder moves the stamp or another takes over; None without a lock."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def _is_free(path: Path) -> bool:
    """Whether no process of this host has the file locked."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:  # gone in the meantime, or of another user
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:  # locked, or a file system without flock
        return False
    finally:
        os.close(handle)

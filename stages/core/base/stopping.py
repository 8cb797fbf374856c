"""A job that is told to stop saves first, and ends with an exit code that says so.

SLURM tells a job with SIGTERM before it preempts it, and with SIGUSR1 before its time is over where
``--signal`` asks for that. Snakemake and SLURM start such a job again, and it goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_CODE = 85  # of no shell and no signal; a site may name it in RequeueExit of slurm.conf


class Stopped(Exception):  # noqa: N818 - no error: the work goes on later
    """The job was told to stop and has saved: the message says what, and how to go on."""


@contextmanager
def deferred() -> Iterator[list[int]]:
    """In the block a signal only joins the list that the block gets, to be looked at when work
    can be saved."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: received.append(got)) for number in SIGNALS
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

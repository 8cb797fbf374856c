"""What ends a run on SLURM: Ctrl-C, SIGTERM, a closed terminal."""

import os
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def cancel_on_signals() -> None:
    """SIGTERM and a closed terminal end Snakemake as Ctrl-C does; under nohup SIGHUP does not."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _closed)


def ignore_signals() -> None:
    """What is being ended already is not disturbed."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _closed(number: int, frame: FrameType | None) -> None:
    """The terminal is gone: nothing can be written there any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if os.isatty(stream):
            os.dup2(nowhere, stream)
    signal.default_int_handler(number, frame)

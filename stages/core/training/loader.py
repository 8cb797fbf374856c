"""Processes that load the rows of the next steps while the model computes."""

from __future__ import annotations

import os
import signal

import torch
from torch.utils.data import get_worker_info

from stages.core.base import distributed, stopping
from stages.core.base.errors import InputError

CPUS = 8  # of one process at most, as many as a training job asks for per GPU


def worker_count(asked: str) -> int:
    """Loading processes of each training process: ``asked``, or with ``auto`` its CPUs minus one.

    Without a GPU ``auto`` is none: there the model has the CPUs.

    Raises:
        InputError: neither a number nor ``auto``.
    """
    if asked.isdecimal():
        return int(asked)
    if asked != "auto":
        raise InputError(f"--workers {asked!r}: give auto, or a number from 0.")
    if not torch.cuda.is_available():
        return 0
    cpus = len(os.sched_getaffinity(0)) // distributed.size()
    return max(min(cpus, CPUS) - 1, 0)


def leave_signals() -> None:
    """In a loading process: the signals that tell a job to stop are its parent's to obey."""
    if get_worker_info() is not None:
        for number in stopping.SIGNALS:
            signal.signal(number, signal.SIG_IGN)

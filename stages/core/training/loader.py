"""How many processes load the rows of the next steps while the model computes."""

from __future__ import annotations

import os

import torch

from stages.core.base import distributed
from stages.core.base.errors import InputError

CPUS = 8  # of one process at most, as many as a training job asks for per GPU


def worker_count(asked: str) -> int:
    """Loading processes of each process of a stage: ``asked``, or with ``auto`` its CPUs minus one.

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

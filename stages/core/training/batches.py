"""How the samples of an optimiser step divide among processes and forward passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.core.base.errors import InputError


def micro_batch_size(settings: Mapping[str, Any], processes: int, where: str = "training") -> int:
    """Samples of one forward pass of each process.

    Args:
        settings: the config's ``training`` section, a task's exceptions filled in.
        where: that section, for the message.

    Raises:
        InputError: the processes cannot have equally many samples of a step.
    """
    batch, most = settings["batch_size"], settings["micro_batch_size"]
    micro = min(most, batch // processes)
    if not micro or batch % (micro * processes):
        raise InputError(
            f"{where}.batch_size {batch}: must be a multiple of micro_batch_size ({most}) x "
            f"gpus.training ({processes}), or of gpus.training alone where it is smaller."
        )
    return micro

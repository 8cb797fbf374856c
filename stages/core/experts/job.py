"""What a method knows of one training job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """What a method knows of one training job."""

    task: str
    tasks: list[str]  # the whole stream, in order
    config: dict[str, Any]
    slots: list[Any]  # slots.Slot of the backbone
    allocation: dict | None
    transfer: dict | None
    size: float | None = None  # trainable parameters to match, where the run is matched
    seed: int = 0  # of the run

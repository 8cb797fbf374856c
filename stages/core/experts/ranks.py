"""Choose ranks that meet the budget of trainable parameters, gates included."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.core.backbone.slots import Slot
    from stages.core.experts.job import Job

ExpertRanks = dict[str, list[int]]  # rank of each expert, by the slot's name


def slot_name(slot: Slot) -> str:
    """A slot's name in files, such as ``llm_0_qkv``."""
    return "_".join(map(str, slot.key))


def budget_of(job: Job) -> float:
    """Trainable parameters a task may have: the size to match if there is one, else
    ``budget.ratio`` of a LoRA of ``expert.rank`` on all slots."""
    if job.size is not None:
        return job.size
    expert = job.config["expert"]
    one = sum(slot.lora_parameters(1, fused=expert["qkv"] == "fused") for slot in job.slots)
    return expert["rank"] * job.config["budget"]["ratio"] * one


def even_ranks(job: Job) -> dict[tuple[str, int, str], int]:
    """A rank for every slot by its key, as equal as the budget allows with whole ranks."""
    fused = job.config["expert"]["qkv"] == "fused"
    units = {slot_name(slot): slot.lora_parameters(1, fused=fused) for slot in job.slots}
    ranks = spread(units, dict.fromkeys(units, 1), budget_of(job))
    return {slot.key: ranks[slot_name(slot)] for slot in job.slots}


def width_of(slot: Slot) -> int:
    """Input width of a slot's linears; a gate has as many parameters per expert."""
    return slot.shapes[0][1]


def spread(units: dict[str, int], least: dict[str, int], budget: float) -> dict[str, int]:
    """Whole ranks of all slots, proportional to ``least`` and never below it, whose cost is as
    near to the budget as one rank of a slot allows (above it if ``least`` costs more).

    Args:
        units: parameters of one rank in each slot.
        least: the smallest rank of each slot.
    """
    level = budget / sum(units[name] * least[name] for name in units)
    ranks, owed = {}, 0.0
    for name, unit in units.items():
        owed += level * least[name] * unit
        ranks[name] = max(least[name], math.floor(owed / unit + 0.5))
        owed -= ranks[name] * unit
    return ranks


def split(total: int, parts: int) -> list[int]:
    """A slot's rank as the ranks of its experts, the larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]

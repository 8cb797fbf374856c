"""Slots whose experts are merged into one, below a top block whose experts stay apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from stages.core.experts.gates import Gate, SampleGate
from stages.core.experts.ranks import slot_name

if TYPE_CHECKING:
    from stages.core.backbone.slots import Slot


class AlwaysOn(Gate):
    """Weight 1 for every expert of the slot."""

    def forward(self, x: Tensor) -> Tensor:
        """``(rows, 1, 1)`` of ones."""
        return x.new_ones(len(x), 1, 1)


def top_slots(slots: Iterable[Slot]) -> set[str]:
    """Names of the slots of the language model's last block."""
    language = [slot for slot in slots if slot.tower == "llm"]
    last = max(slot.block for slot in language)
    return {slot_name(slot) for slot in language if slot.block == last}


def gate_of(top: Collection[str]) -> Callable[[Slot, int], Gate]:
    """The gate of a slot: of its sample in ``top``, always on elsewhere."""
    return lambda slot, experts: SampleGate() if slot_name(slot) in top else AlwaysOn()

"""Ranks solved from a budget of parameters, on hand-made slots."""

import pytest

from stages.core.backbone.slots import Slot
from stages.core.experts.job import Job
from stages.core.experts.ranks import budget_of, even_ranks

# Parameters of rank 1: 4 + 12 for the fused projection, 4 + 4 and 8 + 8 for the others.
SLOTS = [
    Slot("vision", 0, "qkv", ("v.qkv",), ((12, 4),)),
    Slot("vision", 0, "o", ("v.o",), ((4, 4),)),
    Slot("llm", 0, "o", ("l.o",), ((8, 8),)),
]
CONFIG = {"expert": {"rank": 8, "qkv": "split"}, "budget": {"ratio": 0.5}}


def job(size=None) -> Job:
    return Job("a", ["a"], CONFIG, SLOTS, None, None, size)


def count(ranks: dict) -> int:
    return sum(slot.lora_parameters(ranks[slot.key]) for slot in SLOTS)


def test_without_a_size_to_match_half_the_slots_at_rank_8_are_rank_4_on_all():
    assert budget_of(job()) == 8 * 0.5 * (16 + 8 + 16)
    assert set(even_ranks(job()).values()) == {4}


@pytest.mark.parametrize("size", [47, 160, 185, 200, 333, 1000])
def test_a_size_is_met_as_near_as_one_rank_of_a_slot_allows(size):
    ranks = even_ranks(job(size))
    assert abs(count(ranks) - size) <= 8
    assert max(ranks.values()) - min(ranks.values()) <= 1


def test_every_slot_keeps_a_rank_of_1():
    assert set(even_ranks(job(5)).values()) == {1}

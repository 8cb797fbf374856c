"""MoLA: experts by quarter of each tower."""

import pytest

from stages.core.experts.job import Job
from stages.methods import registry as methods
from tests.helpers import battery
from tests.methods.test_dense_mole import LARGE, POCKET, parameters

METHOD = methods.load("mola")
THINGS = battery.TASKS[0]


def job(slots, **options):
    return Job("a", ["a"], battery.config({"mola": options}), slots, None, None)


def test_two_four_six_eight_experts_from_low_to_high():
    counts = METHOD.counts(job(LARGE))
    for module in ("vision", "llm"):
        for kind in ("qkv", "o"):
            got = [counts[f"{module}_{block}_{kind}"] for block in range(24)]
            assert got == [2] * 6 + [4] * 6 + [6] * 6 + [8] * 6


def test_each_tower_has_its_own_quarters():
    counts = METHOD.counts(job(POCKET))
    vision = [counts[f"vision_{block}_o"] for block in range(12)]
    assert vision == [2] * 3 + [4] * 3 + [6] * 3 + [8] * 3
    llm = [counts[f"llm_{block}_o"] for block in range(30)]  # 30 blocks: 7.5 a quarter
    assert llm == [2] * 8 + [4] * 7 + [6] * 8 + [8] * 7


def test_tiny_towers_have_the_quarters_they_reach(tiny):
    model = METHOD.prepare(tiny, battery.job_of(tiny, THINGS), {})
    got = {
        name: len(slot.linears["q_proj"].a) for name, slot in model.slots.items() if "qkv" in name
    }
    assert got == {"vision_0_qkv": 2, "vision_1_qkv": 6, "llm_0_qkv": 2, "llm_1_qkv": 6}
    assert {slot.gate.top_k for slot in model.slots.values()} == {2}
    assert model.notes["balance_loss"] == 1e-3


def test_rank_one_is_the_least_and_over_the_budget():
    """Five experts of rank 1 on average, where the budget has rank 4: hence off_budget."""
    ranks = METHOD.expert_ranks(job(POCKET))
    assert all(set(r) == {1} for r in ranks.values())
    budget = sum(4 * sum(a + b for a, b in slot.shapes) for slot in POCKET)
    assert 1.3 < parameters(POCKET, ranks) / budget < 1.7
    assert "1, 2, 3, 4" in METHOD.off_budget


@pytest.mark.parametrize("slots", [POCKET, LARGE], ids=["pocket", "large"])
def test_half_as_many_experts_fit(slots):
    ranks = METHOD.expert_ranks(job(slots, experts=[1, 2, 3, 4]))
    budget = sum(4 * sum(a + b for a, b in slot.shapes) for slot in slots)
    assert abs(parameters(slots, ranks) / budget - 1) < 0.01
    assert sorted({len(r) for r in ranks.values()}) == [1, 2, 3, 4]

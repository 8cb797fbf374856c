"""Dense mixture: experts within the budget, all in use, trained on through the stream."""

from dataclasses import replace

import pytest
import torch

from stages.core.backbone.load import load_backbone
from stages.core.backbone.slots import Slot
from stages.core.experts.job import Job
from stages.core.experts.ranks import slot_name
from stages.methods import registry as methods
from tests.helpers import battery

METHOD = methods.load("dense_mole")
THINGS, PLACES = battery.TASKS


def tower(module, blocks, width, outputs):
    """Slots of a tower: q, k, v of the given widths, o square."""
    for block in range(blocks):
        names = [f"{module}.{block}.{leaf}" for leaf in ("q", "k", "v", "o")]
        shapes = tuple((rows, width) for rows in outputs)
        yield Slot(module, block, "qkv", tuple(names[:3]), shapes)
        yield Slot(module, block, "o", (names[3],), ((width, width),))


POCKET = [*tower("vision", 12, 384, [384] * 3), *tower("llm", 30, 576, [576, 192, 192])]
LARGE = [*tower("vision", 24, 1024, [1024] * 3), *tower("llm", 24, 2048, [2048, 1024, 1024])]


def job(slots, rank=8, **options):
    settings = battery.config({"dense_mole": options})
    settings["expert"]["rank"] = rank
    return Job("a", ["a"], settings, slots, None, None)


def parameters(slots, ranks):
    """A and B of every expert, and one router row of the slot's width per expert."""
    total = 0
    for slot in slots:
        for rank in ranks[slot_name(slot)]:
            total += sum(rank * rows + rank * columns for rows, columns in slot.shapes)
            total += slot.shapes[0][1]
    return total


@pytest.mark.parametrize("slots", [POCKET, LARGE], ids=["pocket", "large"])
@pytest.mark.parametrize("rank", [8, 16, 32])
def test_experts_and_routers_meet_the_budget(slots, rank):
    """Half of the slots at rank 8, 16 or 32; by default as many experts as fit, at most 8."""
    budget = sum(rank * sum(a + b for a, b in slot.shapes) for slot in slots) / 2
    ranks = METHOD.expert_ranks(job(slots, rank))
    numbers = {len(r) for r in ranks.values()}
    assert numbers == {{8: 3, 16: 6, 32: 8}[rank]}
    assert abs(parameters(slots, ranks) / budget - 1) < 0.01
    assert all(max(r) - min(r) <= 1 for r in ranks.values())


def test_the_number_of_experts_can_be_chosen():
    ranks = METHOD.expert_ranks(job(LARGE, 16, experts=2))
    assert {len(r) for r in ranks.values()} == {2}
    budget = sum(16 * sum(a + b for a, b in slot.shapes) for slot in LARGE) / 2
    assert abs(parameters(LARGE, ranks) / budget - 1) < 0.01


def test_experts_and_routers_learn_on_from_the_state_before(tiny_folder, tmp_path):
    data = battery.write_data(tmp_path)
    first = battery.train("dense_mole", THINGS, tiny_folder, data, tmp_path)
    still = battery.config(learning_rate=1e-12)
    second = battery.train("dense_mole", PLACES, tiny_folder, data, tmp_path, still)
    before, after = first.weights(), second.weights()
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-8) for key in before)
    job = battery.job_of(first.backbone, THINGS)
    fresh = METHOD.prepare(load_backbone(tiny_folder, battery.SETTINGS), replace(job, seed=3), {})
    started = {f"mixture.safetensors:{k}": p.detach() for k, p in fresh.trainable().items()}
    assert started.keys() == before.keys()
    routers = [key for key in before if key.endswith("gate.weight")]
    assert len(routers) == len(first.backbone.slots)
    assert any(not torch.equal(started[key], before[key]) for key in routers)
    assert first.summary["trainable_parameters"] == parameters(
        first.backbone.slots, METHOD.expert_ranks(battery.job_of(first.backbone, THINGS))
    )


def test_every_expert_takes_part_in_every_token(tiny, rows):
    model = METHOD.prepare(tiny, battery.job_of(tiny, THINGS), {})
    model.model.eval()
    seen = []
    for slot in model.slots.values():
        slot.gate.register_forward_hook(lambda m, args, weights: seen.append(weights))
    with torch.no_grad():
        model.model(**battery.batch_of(tiny, rows[:2]))
    assert len(seen) == sum(len(slot.linears) for slot in tiny.slots)
    for weights in seen:
        assert weights.dtype == torch.float32
        assert (weights > 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert any(not torch.allclose(w[:, :1], w) for w in seen)  # tokens differ

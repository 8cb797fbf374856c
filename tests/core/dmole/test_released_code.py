"""``preset: reference_code`` against the rules of the released code, written out independently."""

import math

import numpy as np
import pytest

from stages.core.base.config import complete
from stages.core.dmole.allocation import allocate_experts
from stages.core.dmole.routing import Rule

MINIMAL = {"stream": "s", "manifests": "m", "tasks": ["a"], "backbone": {"path": "p"}}


@pytest.fixture(scope="module")
def config():
    return complete({**MINIMAL, "preset": "reference_code"}, "test")


def released_slots(scores, ratio=0.5):
    """Names of the chosen layers: half of all, at least a quarter of them (rounded down) of the
    vision encoder, by its share in the plain sum of scores; the highest of each tower."""
    vision = {name: score for name, score in scores.items() if name[0] == "vision"}
    language = {name: score for name, score in scores.items() if name[0] == "llm"}
    budget = math.floor(ratio * len(scores) + 0.5)
    share = sum(vision.values()) / sum(scores.values())
    of_vision = max(math.floor(0.25 * budget), math.floor(share * budget + 0.5))
    chosen = sorted(vision, key=vision.get, reverse=True)[:of_vision]
    return {*chosen, *sorted(language, key=language.get, reverse=True)[: budget - of_vision]}


@pytest.mark.parametrize("blocks", [(24, 24), (12, 30)])
def test_600_allocations(config, blocks):
    random = np.random.default_rng(sum(blocks))
    for number in range(600):
        scores = {
            (tower, block, kind): float(random.lognormal())
            for tower, depth in zip(("vision", "llm"), blocks, strict=True)
            for block in range(depth)
            for kind in ("qkv", "o")
        }
        if number % 3 == 0:  # a vision encoder that hardly matters: the floor decides
            scores = {key: s * (0.01 if key[0] == "vision" else 1) for key, s in scores.items()}
        slots = [
            {"tower": tower, "block": block, "slot": kind, "score": score}
            for (tower, block, kind), score in scores.items()
        ]
        shapes = {f"{s['tower']}.{s['block']}.{s['slot']}": [[4, 4]] for s in slots}
        used = {key: config[key] for key in ("budget", "allocation", "profile", "expert")}
        found = allocate_experts(slots, shapes, "t", 0, **used)["slots"]
        chosen = {(s["tower"], s["block"], s["slot"]) for s in found if s["allocated"]}
        assert chosen == released_slots(scores)


def test_1000_routes(config):
    """One expert, the one with the lowest loss of those whose loss is within the threshold."""
    random = np.random.default_rng(0)
    tasks = [f"t{i}" for i in range(9)]
    thresholds = random.uniform(0.2, 1, 9)
    losses = random.lognormal(mean=1, size=(1000, 9))
    rule = Rule.of(dict(zip(tasks, thresholds.tolist(), strict=True)), config["routing"])
    found = [route.experts for route in rule.routes(losses, 9)]
    known = np.where(losses <= thresholds, losses, np.inf)
    assert found == [[tasks[row.argmin()]] if np.isfinite(row).any() else [] for row in known]
    assert 100 < sum(not experts for experts in found) < 900

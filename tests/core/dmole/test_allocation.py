"""Budgets and slot choices against cases worked out by hand."""

import math

import pytest
from numpy.random import default_rng

from stages.core.base.errors import InputError
from stages.core.dmole import allocation as budget


def slots_of(tower: str, scores: list[float]) -> list[dict]:
    """Slots in order of depth: block 0 qkv, block 0 o, block 1 qkv, ..."""
    return [
        {"tower": tower, "block": i // 2, "slot": ("qkv", "o")[i % 2], "score": score}
        for i, score in enumerate(scores)
    ]


def names(slots: list[dict]) -> list[str]:
    return [f"{slot['block']}{slot['slot']}" for slot in slots]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (12.499, 12), (0.29 * 50, 15), (48.0, 48)],
)
def test_halves_are_rounded_up(value: float, expected: int) -> None:
    assert budget.round_half_up(value) == expected


@pytest.mark.parametrize(
    ("ratio", "n", "expected"), [(0, 96, 0), (1, 96, 96), (0.5, 96, 48), (0.5, 7, 4), (0.1, 4, 0)]
)
def test_total_budget(ratio: float, n: int, expected: int) -> None:
    assert budget.total_budget(ratio, n) == expected


@pytest.mark.parametrize("ratio", [-0.01, 1.01, math.nan])
def test_ratio_outside_its_range(ratio: float) -> None:
    with pytest.raises(InputError, match=r"budget.ratio.*\[0, 1\]"):
        budget.total_budget(ratio, 10)


class TestModuleScores:
    slots = slots_of("vision", [3, 4]) + slots_of("llm", [5, 12])

    def test_l2_is_the_norm_of_the_whole_gradient(self) -> None:
        assert budget.tower_scores(self.slots, "t", "l2") == {"vision": 5, "llm": 13}

    def test_sum_adds_the_slots(self) -> None:
        assert budget.tower_scores(self.slots, "t", "sum") == {"vision": 7, "llm": 17}

    def test_one_silent_tower_is_legal(self) -> None:
        slots = slots_of("vision", [0, 0]) + slots_of("llm", [1, 0])
        assert budget.tower_scores(slots, "t") == {"vision": 0, "llm": 1}

    def test_no_gradient_anywhere(self) -> None:
        slots = slots_of("vision", [0, 0]) + slots_of("llm", [0, 0])
        with pytest.raises(InputError, match="task 'signs'.*'vision' and 'llm'.*zero"):
            budget.tower_scores(slots, "signs")

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
    def test_broken_score_names_task_and_tower(self, bad: float) -> None:
        slots = slots_of("vision", [1, 1]) + slots_of("llm", [1, bad])
        with pytest.raises(InputError, match="task 'signs', tower 'llm'"):
            budget.tower_scores(slots, "signs")

    def test_a_tower_without_slots(self) -> None:
        with pytest.raises(InputError, match="task 'signs'.*no slot of tower 'vision'"):
            budget.tower_scores(slots_of("llm", [1, 1]), "signs")


@pytest.mark.parametrize(
    ("modality", "vision"),
    [("curriculum", 0.25), ("even", 0.5), ("vision_only", 1), ("llm_only", 0)],
)
def test_tower_ratios(modality: str, vision: float) -> None:
    ratios = budget.tower_ratios({"vision": 1.0, "llm": 3.0}, modality)
    assert ratios == {"vision": vision, "llm": 1 - vision}


def test_unknown_modality_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'llm_only'"):
        budget.tower_ratios({"vision": 1, "llm": 1}, "lm_only")


@pytest.mark.parametrize(
    ("total", "vision_ratio", "slots", "extra", "expected"),
    [
        (48, 0.25, (48, 48), {}, (12, 36)),
        (10, 0.25, (24, 24), {}, (3, 7)),  # 2.5 experts: half up, for the vision encoder
        (10, 0.24, (24, 24), {}, (2, 8)),
        (48, 0.0, (48, 48), {}, (0, 48)),
        (48, 1.0, (48, 48), {}, (48, 0)),
        (40, 0.9, (20, 60), {}, (20, 20)),  # 36 wanted, 20 there: 16 more for the other
        (40, 0.1, (60, 20), {}, (20, 20)),  # 36 wanted by the language model, 20 there
        (40, 0.0, (60, 20), {}, (20, 20)),  # overflow also from a tower to a silent one
        (80, 0.9, (20, 60), {}, (20, 60)),  # ratio 1: every slot
        (0, 0.9, (20, 60), {}, (0, 0)),
        (48, 0.1, (48, 48), {"vision_floor": 0.25}, (12, 36)),
        (48, 0.5, (48, 48), {"vision_floor": 0.25}, (24, 24)),
        (48, 0.0, (48, 48), {"vision_floor": 0.25}, (12, 36)),
        (42, 0.0, (24, 60), {"vision_floor": 0.25}, (10, 32)),  # 10.5: a floor is rounded down
        (7, 0.5, (24, 24), {"modality": "even"}, (4, 3)),
        (40, 0.0, (60, 20), {"modality": "llm_only"}, (0, 20)),  # no overflow: llm only
        (40, 1.0, (60, 20), {"modality": "vision_only"}, (40, 0)),
    ],
)
def test_split_budget(
    total: int, vision_ratio: float, slots: tuple, extra: dict, expected: tuple
) -> None:
    ratios = {"vision": vision_ratio, "llm": 1 - vision_ratio}
    n_slots = dict(zip(("vision", "llm"), slots, strict=True))
    found = budget.split_budget(total, ratios, n_slots, **extra)
    assert (found["vision"], found["llm"]) == expected


class TestChoose:
    slots = slots_of("llm", [1, 5, 5, 2, 5, 5])  # 0qkv=1 0o=5 1qkv=5 1o=2 2qkv=5 2o=5

    def choose(self, n: int, strategy: str, seed: int = 0) -> list[str]:
        shuffled = [self.slots[i] for i in (3, 0, 5, 2, 4, 1)]
        return names(budget.choose(shuffled, n, strategy, default_rng(seed)))

    def test_gradient_breaks_ties_by_block_then_qkv(self) -> None:
        order = ["0o", "1qkv", "2qkv", "2o", "1o", "0qkv"]
        for n in range(7):
            assert self.choose(n, "gradient") == order[:n]

    def test_top_and_bottom(self) -> None:
        assert self.choose(3, "top") == ["2qkv", "2o", "1qkv"]
        assert self.choose(3, "bottom") == ["0qkv", "0o", "1qkv"]

    def test_random_depends_on_the_generator_alone(self) -> None:
        draws = {tuple(self.choose(3, "random", seed)) for seed in range(20)}
        assert all(len(set(draw)) == 3 for draw in draws)
        assert len(draws) > 5
        assert self.choose(3, "random", 4) == self.choose(3, "random", 4)

    def test_random_reaches_every_slot(self) -> None:
        assert {name for seed in range(40) for name in self.choose(1, "random", seed)} == {
            "0qkv", "0o", "1qkv", "1o", "2qkv", "2o",
        }  # fmt: skip

    def test_unknown_strategy(self) -> None:
        with pytest.raises(InputError, match="Did you mean 'gradient'"):
            self.choose(1, "gradients")


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, []),
        (1, ["4qkv"]),  # the middle of eight blocks
        (2, ["4qkv", "4o"]),
        (3, ["2qkv", "2o", "6qkv"]),
        (4, ["2qkv", "2o", "6qkv", "6o"]),
        (8, ["1qkv", "1o", "3qkv", "3o", "5qkv", "5o", "7qkv", "7o"]),
        (6, ["1qkv", "1o", "4qkv", "4o", "6qkv", "6o"]),  # middles 1.33, 4, 6.67
    ],
)
def test_uniform_spreads_blocks_over_the_depth(n: int, expected: list[str]) -> None:
    assert names(budget.uniform(slots_of("llm", list(range(16))), n)) == expected


def test_uniform_can_take_every_slot() -> None:
    slots = slots_of("vision", [1] * 10)
    assert budget.uniform(slots, 10) == slots

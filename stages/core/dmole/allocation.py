"""How many experts each tower gets and in which slots they sit (paper, Eqs. 4-5 and 13-15).

A slot here is a mapping with ``tower`` (``vision`` or ``llm``), ``block`` (0 = next to the input),
``slot`` (``qkv`` or ``o``) and ``score`` (norm of the slot's gradient).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.random import Generator

from stages.core.backbone.slots import KINDS, TOWERS, lora_parameters
from stages.core.base.errors import InputError, unknown
from stages.core.base.reading import AGAIN_ADVICE

Slot = Mapping[str, Any]

KEYS = (
    "budget",
    "allocation",
    "profile.include_bias",
    "profile.loss",
    "expert.rank",
    "expert.alpha",
    "expert.qkv",
)
"""The keys of the configuration that an allocation depends on."""


def round_half_up(value: float) -> int:
    """Nearest integer, halves upwards.

    Nine decimals count, because 0.29 x 50 is 14.499999999999998 in binary and means 14.5.
    """
    return math.floor(round(value, 9) + 0.5)


def total_budget(ratio: float, n_slots: int) -> int:
    """Experts of one task in both towers together: ``ratio`` of all slots.

    Raises:
        InputError: a ratio outside 0 to 1.
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"budget.ratio: {ratio} is outside [0, 1].")
    return round_half_up(ratio * n_slots)


# --- Eqs. 13-15: the split between the towers ---------------------------------------------------


def tower_scores(slots: Sequence[Slot], task: str, rule: str = "l2") -> dict[str, float]:
    """Sensitivity of each tower to the task (Eq. 13).

    ``l2``: norm of the tower's whole gradient, the root of the summed squares of its slots;
    ``sum``: plain sum of the slot scores, as in the published code.

    Raises:
        InputError: a tower without slots, a score that is no finite norm, or no gradient at all.
    """
    scores = {}
    for tower in TOWERS:
        values = [float(slot["score"]) for slot in slots if slot["tower"] == tower]
        if not values:
            raise InputError(f"task {task!r}: the profile has no slot of tower {tower!r}.")
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise InputError(
                f"task {task!r}, tower {tower!r}: the profile has scores that are not finite or "
                "negative; look for overflow in its gradients and profile the task again."
            )
        scores[tower] = math.hypot(*values) if rule == "l2" else math.fsum(values)
    if not any(scores.values()):
        raise InputError(
            f"task {task!r}: every slot score of towers 'vision' and 'llm' is zero, so there is "
            "nothing to rank; check that the subset has answers, and profile the task again."
        )
    return scores


def tower_ratios(scores: Mapping[str, float], modality: str) -> dict[str, float]:
    """Share of each tower in the budget (Eq. 14), or what the ablations put in its place.

    Raises:
        InputError: an unknown modality.
    """
    total = sum(scores.values())
    shares = {
        "curriculum": scores["vision"] / total,
        "even": 0.5,
        "vision_only": 1.0,
        "llm_only": 0.0,
    }
    if modality not in shares:
        raise unknown("modality", modality, shares, "budget.modality")
    return {"vision": shares[modality], "llm": 1 - shares[modality]}


def split_budget(
    total: int,
    ratios: Mapping[str, float],
    n_slots: Mapping[str, int],
    modality: str = "curriculum",
    vision_floor: float = 0.0,
) -> dict[str, int]:
    """Experts per tower (Eq. 15); what does not fit into one tower goes to the other.

    ``vision_floor`` is the least share of the vision encoder, rounded down to whole experts as in
    the published code. Under ``vision_only`` and ``llm_only`` the other tower stays empty, and what
    does not fit is not used.
    """
    if modality in ("vision_only", "llm_only"):
        return {m: min(round_half_up(ratios[m] * total), n_slots[m]) for m in TOWERS}
    floor = math.floor(round(vision_floor * total, 9))
    vision = max(round_half_up(ratios["vision"] * total), floor)
    vision = min(max(vision, total - n_slots["llm"]), n_slots["vision"])
    return {"vision": vision, "llm": total - vision}


# --- Eqs. 4-5: the slots within a tower ---------------------------------------------------------


def by_depth(slot: Slot) -> tuple[int, int]:
    """Sort key from the input upwards, ``qkv`` before ``o``; it also breaks ties of scores."""
    return slot["block"], KINDS.index(slot["slot"])


def by_score(slot: Slot) -> tuple:
    """Sort key with the highest score first (Eq. 4)."""
    return -slot["score"], *by_depth(slot)


def _top(slots: Sequence[Slot]) -> list[Slot]:
    return sorted(slots, key=lambda slot: (-slot["block"], by_depth(slot)))


def uniform(slots: Sequence[Slot], budget: int) -> list[Slot]:
    """Slots of blocks evenly spaced over the depth, in order of depth.

    The fewest blocks that hold the budget are taken, the i-th of n (from 0) in the middle of the
    i-th of n equal parts of the depth. If their slots are more than the budget, the last ones are
    left out.
    """
    blocks = sorted({slot["block"] for slot in slots})

    def spaced(n: int) -> list[Slot]:
        chosen = {blocks[(2 * i + 1) * len(blocks) // (2 * n)] for i in range(n)}
        return sorted((slot for slot in slots if slot["block"] in chosen), key=by_depth)

    n_blocks = next(n for n in range(len(blocks) + 1) if len(spaced(n)) >= budget)
    return spaced(n_blocks)[:budget]


def choose(slots: Sequence[Slot], budget: int, strategy: str, random: Generator) -> list[Slot]:
    """The ``budget`` slots of one tower that get an expert (Eq. 5).

    ``gradient``: highest scores; ``uniform``: see :func:`uniform`; ``random``: a draw from
    ``random``; ``top``, ``bottom``: the blocks furthest from, nearest to the input.

    Raises:
        InputError: an unknown strategy.
    """
    rules: dict[str, Callable[[], Sequence[Slot]]] = {
        "gradient": lambda: sorted(slots, key=by_score),
        "uniform": lambda: uniform(slots, budget),
        "random": lambda: [ordered[i] for i in random.permutation(len(ordered))],
        "top": lambda: _top(slots),
        "bottom": lambda: sorted(slots, key=by_depth),
    }
    if strategy not in rules:
        raise unknown("strategy", strategy, rules, "allocation.strategy")
    ordered = sorted(slots, key=by_depth)
    return list(rules[strategy]())[:budget]


Shapes = Mapping[str, Sequence[Sequence[int]]]


def check_profile(slots: Sequence[Slot], shapes: Mapping[str, Any], path: Path) -> None:
    """Look at a profile's rows and shapes, which people may have edited.

    Raises:
        InputError: a row of no slot, without a score, or without the shapes of its linears.
    """
    for slot in slots:
        name = f"{slot['tower']}.{slot['block']}.{slot['slot']}"
        known = slot["tower"] in TOWERS and slot["slot"] in KINDS
        if not known or slot["block"] is None or slot["score"] is None:
            raise InputError(
                f"{path}: row {name} with score {slot['score']}: expected a tower "
                f"({', '.join(TOWERS)}), a block, a slot ({', '.join(KINDS)}) and a score."
            )
        if not _are_shapes(shapes.get(name)):
            raise InputError(
                f"{path}: shapes lack (outputs, inputs) of slot {name}. {AGAIN_ADVICE}"
            )


def _are_shapes(value: Any) -> bool:
    pairs = value if isinstance(value, list) else []
    return bool(pairs) and all(
        isinstance(pair, list) and [type(size) for size in pair] == [int, int] for pair in pairs
    )


def allocate_experts(
    slots: Sequence[Slot],
    shapes: Shapes,
    task: str,
    seed: int,
    *,
    budget: Mapping[str, Any],
    allocation: Mapping[str, Any],
    profile: Mapping[str, Any],
    expert: Mapping[str, Any],
) -> dict[str, Any]:
    """The allocation of one task as the content of its JSON, without provenance.

    Args:
        slots: rows of the profile (tower, block, slot, score).
        shapes: (out, in) of each linear of a slot, by ``tower.block.slot``.
        task: its name; with ``seed`` it fixes the draw of the ``random`` strategy.
        seed: seed of the run.
        budget, allocation, profile, expert: the config keys of these names.

    Raises:
        InputError: scores that allow no ranking (task and tower are named).
    """
    from numpy.random import default_rng

    slots = sorted(slots, key=lambda s: (TOWERS.index(s["tower"]), by_depth(s)))
    by_tower = {m: [s for s in slots if s["tower"] == m] for m in TOWERS}
    counts = {tower: len(found) for tower, found in by_tower.items()}
    total = total_budget(budget["ratio"], len(slots))
    scores = tower_scores(slots, task, budget["tower_score"])
    ratios = tower_ratios(scores, budget["modality"])
    budgets = split_budget(total, ratios, counts, budget["modality"], budget["vision_floor"])
    random = default_rng([seed, *task.encode()])
    rows = []
    for tower, found in by_tower.items():
        chosen = choose(found, budgets[tower], allocation["strategy"], random)
        rows += _slot_rows(found, chosen, shapes, expert)
    return {
        "task": task,
        "strategy": allocation["strategy"],
        "ratio": budget["ratio"],
        "total_slots": len(slots),
        "budget": total,
        "towers": {
            m: {"score": scores[m], "ratio": ratios[m], "slots": counts[m], "budget": budgets[m]}
            for m in TOWERS
        },
        "slots": rows,
        "expert": {key: expert[key] for key in ("rank", "alpha")},
        "trainable_parameters": sum(r["trainable_parameters"] for r in rows if r["allocated"]),
        "switches": {key: budget[key] for key in ("tower_score", "modality", "vision_floor")}
        | {key: profile[key] for key in ("include_bias", "loss")},
    }


def _slot_rows(
    slots: Sequence[Slot], chosen: Sequence[Slot], shapes: Shapes, expert: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One entry per slot of a tower, in the order given."""
    allocated = {by_depth(slot) for slot in chosen}
    ranked = [by_depth(slot) for slot in sorted(slots, key=by_score)]
    return [
        {
            **{key: slot[key] for key in ("tower", "block", "slot", "score")},
            "order": ranked.index(by_depth(slot)) + 1,
            "allocated": by_depth(slot) in allocated,
            "trainable_parameters": lora_parameters(
                shapes[f"{slot['tower']}.{slot['block']}.{slot['slot']}"],
                expert["rank"],
                fused=expert["qkv"] == "fused",
            ),
        }
        for slot in slots
    ]

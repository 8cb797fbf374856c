"""Choose the slots that get an expert for one task, from its gradient profile (Eqs. 4-5, 13-15).

Reads   profiles/{task}.parquet
Writes  allocations/{task}.json: per module score, ratio and budget; per slot score, rank, whether
        it gets an expert, and how many parameters an expert there trains
Config  budget, allocation, profile.include_bias, profile.loss, expert.rank, expert.alpha

    python -m stages.allocate_experts --profile results/pocket/seed0/profiles/iconqa.parquet \\
        --seed 0 --config workflow/config/pocket.yaml --out allocation.json
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core import artifacts, cli, config, provenance
from stages.core import budget as rules

KEYS = (
    "budget",
    "allocation",
    "profile.include_bias",
    "profile.loss",
    "expert.rank",
    "expert.alpha",
)
Slot = Mapping[str, Any]
Shapes = Mapping[str, Sequence[Sequence[int]]]


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
        slots: rows of the profile (module, block, slot, score).
        shapes: (out, in) of each linear of a slot, by ``module.block.slot``.
        task: its name; with ``seed`` it fixes the draw of the ``random`` strategy.
        seed: seed of the run.
        budget, allocation, profile, expert: the config keys of these names.

    Raises:
        InputError: scores that allow no ranking (task and module are named).
    """
    from numpy.random import default_rng

    slots = sorted(slots, key=lambda s: (rules.MODULES.index(s["module"]), rules.by_depth(s)))
    by_module = {m: [s for s in slots if s["module"] == m] for m in rules.MODULES}
    counts = {module: len(found) for module, found in by_module.items()}
    total = rules.total_budget(budget["ratio"], len(slots))
    scores = rules.module_scores(slots, task, budget["module_score"])
    ratios = rules.module_ratios(scores, budget["modality"])
    budgets = rules.split_budget(total, ratios, counts, budget["modality"], budget["vision_floor"])
    random = default_rng([seed, *task.encode()])
    rows = []
    for module, found in by_module.items():
        chosen = rules.choose(found, budgets[module], allocation["strategy"], random)
        rows += _slot_rows(found, chosen, shapes, expert["rank"])
    return {
        "task": task,
        "strategy": allocation["strategy"],
        "ratio": budget["ratio"],
        "total_slots": len(slots),
        "budget": total,
        "modules": {
            m: {"score": scores[m], "ratio": ratios[m], "slots": counts[m], "budget": budgets[m]}
            for m in rules.MODULES
        },
        "slots": rows,
        "expert": {key: expert[key] for key in ("rank", "alpha")},
        "trainable_parameters": sum(r["trainable_parameters"] for r in rows if r["allocated"]),
        "switches": {key: budget[key] for key in ("module_score", "modality", "vision_floor")}
        | {key: profile[key] for key in ("include_bias", "loss")},
    }


def _slot_rows(
    slots: Sequence[Slot], chosen: Sequence[Slot], shapes: Shapes, rank: int
) -> list[dict[str, Any]]:
    """One entry per slot of a module, in the order given."""
    allocated = {rules.by_depth(slot) for slot in chosen}
    ranked = [rules.by_depth(slot) for slot in sorted(slots, key=rules.by_score)]
    return [
        {
            **{key: slot[key] for key in ("module", "block", "slot", "score")},
            "rank": ranked.index(rules.by_depth(slot)) + 1,
            "allocated": rules.by_depth(slot) in allocated,
            "trainable_parameters": sum(
                rank * (n_out + n_in)
                for n_out, n_in in shapes[f"{slot['module']}.{slot['block']}.{slot['slot']}"]
            ),
        }
        for slot in slots
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--profile", type=Path, required=True, help="profile of the task")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="allocation to write")
    args = parser.parse_args(argv)
    used = config.slice_config(config.from_argument(args.config), *KEYS)
    slots = artifacts.read_table("profile", args.profile).to_pylist()
    notes = artifacts.metadata(args.profile)
    content = allocate_experts(slots, notes["shapes"], notes["task"], args.seed, **used)
    content["provenance"] = provenance.record(
        "allocate_experts", {"profile": args.profile}, used, seed=args.seed
    )
    artifacts.write_json("allocation", args.out, content)


if __name__ == "__main__":
    cli.run(main)

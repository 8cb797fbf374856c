"""Choose the slots that get an expert for one task, from its gradient profile (Eqs. 4-5, 13-15).

Reads   profiles/{task}.parquet
Writes  allocations/{task}.json: per tower score, ratio and budget; per slot score, order, whether
        it gets an expert, and how many parameters an expert there trains
Config  budget, allocation, profile.include_bias, profile.loss, expert.rank, expert.alpha

    python -m stages.allocate_experts --profile results/pocket/seed0/profiles/iconqa.parquet \\
        --seed 0 --config workflow/config/pocket.yaml --out allocation.json
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.base import artifacts, cli, config, edits, provenance
from stages.core.base.reading import as_object
from stages.core.dmole.allocation import KEYS, allocate_experts, check_profile

Slot = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--profile", type=Path, required=True, help="profile of the task")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="allocation to write")
    args = parser.parse_args(argv)
    edits.refuse_edited(args.out)
    used = config.slice_config(config.from_argument(args.config), *KEYS)
    slots = artifacts.read_table("profile", args.profile).to_pylist()
    shapes = as_object(artifacts.metadata(args.profile)["shapes"], args.profile)
    check_profile(slots, shapes, args.profile)
    task = artifacts.task_of(args.profile)
    content = allocate_experts(slots, shapes, task, args.seed, **used)
    content["provenance"] = provenance.record(
        "allocate_experts", {"profile": args.profile}, used, seed=args.seed
    )
    artifacts.write_json("allocation", args.out, content)


if __name__ == "__main__":
    cli.run(main)

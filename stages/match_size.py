"""Count the parameters of D-MoLE's expert of a task, for the methods that train as many.

The count comes from the profile, as the allocation does, so that an edited allocation changes only
D-MoLE.

Reads   profiles/{task}.parquet
Writes  sizes/{task}.json
Config  as allocate_experts

    python -m stages.match_size --profile results/pocket/seed0/profiles/iconqa.parquet --seed 0 \\
        --config workflow/config/pocket.yaml --out size.json
"""

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, config, provenance
from stages.core.dmole.allocation import KEYS, allocate_experts


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--profile", type=Path, required=True, help="profile of the task")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="size to write")
    args = parser.parse_args(argv)
    used = config.slice_config(config.from_argument(args.config), *KEYS)
    slots = artifacts.read_table("profile", args.profile).to_pylist()
    notes = artifacts.metadata(args.profile)
    allocation = allocate_experts(slots, notes["shapes"], notes["task"], args.seed, **used)
    content = {key: allocation[key] for key in ("task", "trainable_parameters")}
    content["provenance"] = provenance.record(
        "match_size", {"profile": args.profile}, used, seed=args.seed
    )
    artifacts.write_json("size", args.out, content)


if __name__ == "__main__":
    cli.run(main)

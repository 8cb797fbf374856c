"""Draw the subset of a task's training rows on which gradients and features are computed.

Reads   data/{task}/train.parquet
Writes  subsets/{task}.parquet: the chosen rows, in the file's order
Config  subset

    python -m stages.sample_subset --data results/pocket/data/maps_ground/train.parquet \\
        --seed 0 --config workflow/config/pocket.yaml \\
        --out results/pocket/seed0/subsets/maps_ground.parquet

max(min_samples, fraction x n) rows, uniform and without replacement, at most all n.
"""

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, provenance
from stages.core.base.config import from_argument, slice_config
from stages.core.base.errors import InputError
from stages.core.base.sampling import pick, subset_size


def sample_subset(data: Path, fraction: float, min_samples: int, seed: int, out: Path) -> int:
    """Write the subset of ``data`` to ``out``; returns its number of rows.

    Raises :class:`InputError` for a fraction outside (0, 1], a negative minimum, or no rows.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"subset.fraction: must be above 0 and at most 1, found {fraction}.")
    if min_samples < 0:
        raise InputError(f"subset.min_samples: must not be negative, found {min_samples}.")
    rows = artifacts.read_table("data", data)
    task = artifacts.task_record(data)
    count = subset_size(rows.num_rows, fraction, min_samples)
    if count == 0:
        raise InputError(f"{data}: {rows.num_rows} rows give an empty subset.")
    chosen = rows.take(pick(rows.num_rows, count, seed, f"{task['name']}/subset"))
    record = provenance.record(
        "sample_subset",
        {"data": data},
        {"subset": {"fraction": fraction, "min_samples": min_samples}},
        seed=seed,
    )
    artifacts.write_table("data", out, chosen, task=task, provenance=record)
    return count


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = cli.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="training rows")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    args = parser.parse_args(argv)
    subset = slice_config(from_argument(args.config), "subset")["subset"]
    count = sample_subset(args.data, subset["fraction"], subset["min_samples"], args.seed, args.out)
    print(f"{args.out}: {count} rows")


if __name__ == "__main__":
    cli.run(main)

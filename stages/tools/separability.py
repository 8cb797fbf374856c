"""Show how well a run's tasks can be told apart without learning, to judge its routing scores.

Reads   features of the subsets and the test rows, and the rows, of a finished run
Writes  to the terminal, or JSON

    cmit separability results/demo
    cmit separability results/demo --json

By task: the share of test rows whose nearest mean feature (prototype), or nearest single row
(neighbour), is the own task's, by the image half, the text half and both; and the largest share of
its test prompts and images that another task trains on. The report shows the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from stages.core.runs.find_run import find_run
    from stages.core.runs.separability import HALVES, RULES, has_features, overlaps, told_apart

    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    run = find_run(args.run, args.method, args.seed)[1]
    if not has_features(run):
        raise InputError(
            f"{run.name}: no features, because it routes without them; name a run with routers "
            "by --method."
        )
    rows = (run.artefacts[name] for name in ("train_rows", "test_rows"))
    apart, shared = told_apart(run), overlaps(*rows)
    if args.json:
        print(json.dumps({"tasks": run.tasks, **apart, **shared}, indent=2))
        return

    from stages.tools.display import console, table

    columns = [f"{rule}: {half}" for rule in RULES for half in HALVES]
    made = table("task", *columns, "prompts of", "images of", left=1)
    for task in run.tasks:
        cells = [f"{100 * apart[rule][half][task]:.0f} %" for rule in RULES for half in HALVES]
        others = [_most(shared[what][task], task) for what in ("prompts", "images")]
        made.add_row(task, *cells, *others)
    console().print(made)


def _most(shares: dict[str, float], own: str) -> str:
    """The other task that holds most of a task's prompts or images."""
    from stages.core.runs.separability import most_shared

    found = most_shared(shares, own)
    return f"{found[0]}: {100 * found[1]:.0f} %" if found else "nobody"


if __name__ == "__main__":
    cli.run(main)

"""Show how well a run's tasks can be told apart without learning, to judge its routing scores.

Reads   features of the subsets and the test rows, and the rows, of a finished run
Writes  to the terminal, or JSON

    cmit separability results/demo
    cmit separability results/demo --json

By task: the share of test rows whose nearest mean feature (prototype), or nearest single row
(neighbour), is the own task's, by the image half, the text half and both; and the largest share of
its test prompts and images that another task trains on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from stages.core.runs.run_sheet import Run

HALVES = ("image", "text", "both")


def separability(run: Run) -> dict[str, Any]:
    """What :func:`main` prints, by task of the run.

    Raises:
        InputError: a run without features, or a file that is missing.
    """
    from stages.core.evaluation.separability import by_neighbour, by_prototype, shared

    known, asked = (_halves(run, name) for name in ("subset_features", "test_features"))
    found: dict[str, Any] = {
        rule.__name__.removeprefix("by_"): {half: rule(known[half], asked[half]) for half in HALVES}
        for rule in (by_prototype, by_neighbour)
    }
    train, test = (
        {task: _said(run, artefact, task) for task in run.tasks}
        for artefact in ("train_rows", "test_rows")
    )
    for what in ("prompts", "images"):
        found[what] = shared(
            {task: said[what] for task, said in test.items()},
            {task: said[what] for task, said in train.items()},
        )
    return {"tasks": run.tasks, **found}


def _halves(run: Run, artefact: str) -> dict[str, dict[str, np.ndarray]]:
    """Feature rows by half and task; in the subset as the rows ask, without other wordings."""
    from stages.core.dmole.routers import read_features

    if artefact not in run.artefacts:
        raise InputError(
            f"{run.name}: no features, because it routes without them; name a run with routers "
            "by --method."
        )
    found: dict[str, dict[str, np.ndarray]] = {half: {} for half in HALVES}
    for task in run.tasks:
        features = read_features(run.file(artefact, task))
        if features.vision_dim is None:
            raise InputError(f"{run.file(artefact, task)}: does not say how wide its halves are.")
        parts = (features.z[:, : features.vision_dim], features.z[:, features.vision_dim :])
        for half, rows in zip(HALVES, (*parts, features.z), strict=True):
            found[half][task] = rows
    return found


def _said(run: Run, artefact: str, task: str) -> dict[str, list[str]]:
    """What the rows of a task ask, without case and marks, and names of their images."""
    from stages.core.backbone.features import plain

    rows = artifacts.read_table("data", run.file(artefact, task)).to_pylist()
    return {
        "prompts": [plain(row["turns"][0]["question"]) for row in rows],
        "images": [_name(image) for row in rows for image in row["images"]],
    }


def _name(image: dict[str, Any]) -> str:
    if image["bytes"] is None:
        return str(image["path"])
    return hashlib.sha256(image["bytes"]).hexdigest()


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from stages.core.runs.find_run import find_run

    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    found = separability(find_run(args.run, args.method, args.seed)[1])
    if args.json:
        print(json.dumps(found, indent=2))
        return

    from stages.tools.display import console, table

    columns = [f"{rule}: {half}" for rule in ("prototype", "neighbour") for half in HALVES]
    made = table("task", *columns, "prompts of", "images of", left=1)
    for task in found["tasks"]:
        cells = [
            f"{100 * found[rule][half][task]:.0f} %"
            for rule in ("prototype", "neighbour")
            for half in HALVES
        ]
        others = [_most(found[what][task], task) for what in ("prompts", "images")]
        made.add_row(task, *cells, *others)
    console().print(made)


def _most(shares: dict[str, float], own: str) -> str:
    """The other task that holds most of a task's prompts or images."""
    others = {task: share for task, share in shares.items() if task != own and share}
    if not others:
        return "nobody"
    task = max(others, key=others.__getitem__)
    return f"{task}: {100 * others[task]:.0f} %"


if __name__ == "__main__":
    cli.run(main)

"""Draw the features of a run's tasks in one plane, as one SVG: how far tasks lie apart.

Reads   features of the subsets and the routers of a finished run
Writes  OUT.svg

    cmit projection results/demo docs/images/tasks.svg

Up to 500 rows a task, as the task's own router reconstructs them if it is an autoencoder, else as
they are. The plane is that of their first two principal components, so that equal features give
equal pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import cli
from stages.core.base.errors import InputError
from stages.core.base.sampling import pick
from stages.core.base.writing import make_folder, replacing

if TYPE_CHECKING:
    import numpy as np

    from stages.core.runs.run_sheet import Run

MOST = 500  # rows of a task, as in the paper


def rows_of(run: Run) -> dict[str, np.ndarray]:
    """What is drawn of every task of a run, ``(n, d)``.

    Raises:
        InputError: a run without features, or a file that is missing.
    """
    import torch

    from stages.core.dmole.routers import load, read_features

    if "subset_features" not in run.artefacts:
        raise InputError(
            f"{run.name}: no features, because it routes without them; name a run with routers "
            "by --method."
        )
    found = {}
    for task in run.tasks:
        z = read_features(run.file("subset_features", task)).z
        z = z[pick(len(z), MOST, run.seed, f"{task} projection")]
        router = load(run.file("router_weights", task))
        found[task] = router(torch.from_numpy(z)).numpy() if router.kind == "autoencoder" else z
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("out", type=Path, metavar="OUT", help="the SVG to write")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    args = parser.parse_args(argv)

    from stages.core.evaluation.projection import principal_plane
    from stages.core.report.projection import draw
    from stages.core.runs.find_run import find_run

    sheet, run = find_run(args.run, args.method, args.seed)
    places, shares = principal_plane(rows_of(run))
    names = sheet.labels.get("tasks", {})
    canvas = draw(places, shares, lambda task: names.get(task, task))
    make_folder(args.out.parent)
    with replacing(args.out) as draft:
        draft.write_text(canvas.file("Features of all tasks in one plane"), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

"""Draw what a run's methods scored on every task after every step, as one SVG.

Reads   the scores of a run
Writes  OUT.svg

    cmit picture results/demo docs/images/demo.svg
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError
from stages.core.base.writing import make_folder, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = Mapping[tuple[int, str], float]  # score by step and task
DARK = 55.0  # from this score on the colour is so dark that ink must be light


def matrices(rows: Sequence[Mapping]) -> dict[str, Matrix]:
    """The score matrix of every method, means over its seeds."""
    found: dict[str, dict[tuple[int, str], list[float]]] = {}
    for row in rows:
        cells = found.setdefault(row["method"], {})
        cells.setdefault((row["step"], row["task"]), []).append(row["value"])
    return {
        method: {place: fmean(values) for place, values in cells.items()}
        for method, cells in found.items()
    }


def draw(tasks: Sequence[str], found: Mapping[str, Matrix]) -> Figure:
    """One heat map a method, on one colour scale: a row a step, a column a task; framed where the
    task is learnt."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    side = 0.62 * len(tasks)
    size = (1.6 + (side + 0.4) * len(found), side + 1.4)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    steps = ["before", *(f"after {task}" for task in tasks)]
    for place, (method, matrix) in zip(axes, found.items(), strict=True):
        values = [[matrix.get((s, t), float("nan")) for t in tasks] for s in range(len(steps))]
        place.imshow(values, cmap="YlGnBu", vmin=0, vmax=100, aspect="auto")
        for (step, task), value in matrix.items():
            column, ink = tasks.index(task), "white" if value > DARK else "black"
            place.text(column, step, f"{value:.0f}", ha="center", va="center", color=ink)
            if step == column + 1:
                corner = (column - 0.5, step - 0.5)
                place.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", lw=2))
        place.set_title(method, loc="left", weight="bold")
        place.set_xticks(range(len(tasks)), tasks, rotation=30, ha="right")
        place.set_yticks(range(len(steps)), steps)
        place.spines[:].set_visible(False)
        place.tick_params(length=0)
    return figure


def as_svg(figure: Figure, out: Path) -> None:
    """Write a figure; equal figures give equal bytes."""
    import matplotlib

    fixed = {"svg.hashsalt": "cmit", "svg.fonttype": "path", "text.parse_math": False}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **fixed}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator")))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("out", type=Path, metavar="OUT", help="the SVG to write")
    args = parser.parse_args(argv)

    from stages.core.runs.find_run import find_run

    sheet, _ = find_run(args.run)
    scores = sheet.path.parent / "scores.parquet"
    if not scores.is_file():
        raise InputError(f"{scores}: missing; run it to its end.")
    rows = artifacts.read_table("scores", scores).to_pylist()
    make_folder(args.out.parent)
    with replacing(args.out) as draft:
        as_svg(draw(sheet.tasks, matrices(rows)), draft)


if __name__ == "__main__":
    cli.run(main)

"""Show test samples of a finished run: kept, forgotten, learnt, misrouted or unparsed ones.

Reads   test rows, routes, predictions and scores of a run
Writes  to the terminal

    cmit examples results/demo --task numbers_ocr --where forgotten --method seq_ft
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import cli
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stages.core.runs.samples import Sample

WIDTH = 120  # characters of the longest answer


def show(sample: Sample) -> Iterator[RenderableType]:
    """A sample's question and references, and a table of its answers."""
    from rich.text import Text

    from stages.tools.display import STRONG, number, short, table

    yield Text(sample.sample_id, STRONG)
    yield cli.printable(sample.question)
    yield f"wanted: {' | '.join(map(cli.printable, sample.references))}"
    made = table("step", "answer", "experts", "score", left=3)
    for step, said in sorted(sample.steps.items()):
        unread = "" if said.parsed else " (not readable)"
        made.add_row(
            str(step),
            short(cli.printable(said.text), WIDTH),
            " + ".join(said.experts) or "(backbone)",
            f"{number(said.score)}{unread}",
        )
    yield made


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from stages.core.runs.find_run import find_run
    from stages.core.runs.samples import WHERE, find_samples

    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("--task", required=True, help="whose test samples")
    parser.add_argument("--where", required=True, choices=WHERE, help="what became of them")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--samples", type=int, default=5, help="how many to show (default 5)")
    args = parser.parse_args(argv)
    if args.samples < 1:
        raise InputError(f"--samples: {args.samples} is not a positive number.")
    sheet, run = find_run(args.run, args.method, args.seed)
    found, total = find_samples(sheet, run, args.task, args.where)

    from stages.tools.display import console

    out = console()
    count = f"{args.where}: {len(found)} of {total} samples of {args.task}"
    out.print(f"{count} {WHERE[args.where][0]} ({run.name}, seed {run.seed}).\n")
    for sample in found[: args.samples]:
        for item in show(sample):
            out.print(item)


if __name__ == "__main__":
    cli.run(main)

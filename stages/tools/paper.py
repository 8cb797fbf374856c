"""Reproduce a table or figure of the D-MoLE paper: what to run, and the published values beside it.

Reads   published tables (workflow/report); with RUN its metrics.json, comparison.json, allocations
Writes  to the terminal

    cmit paper                          # all of them
    cmit paper table2                   # the command to run, and what was published
    cmit paper table2 results/pocket    # the run's numbers beside it

Published values are of InternVL2-2B on the nine tasks of CMIT; on another stream or backbone only
the order of the methods can be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli
from stages.core.base.config import WORKFLOW
from stages.core.base.errors import InputError, unknown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from stages.core.runs.run_sheet import RunSheet

Rows = list[dict[str, str]]
RUN = "snakemake --profile slurm --configfile workflow/config/cmit.yaml"


def sweep(name: str) -> str:
    """The command of a sweep on the paper's stream."""
    return f"{RUN} workflow/config/sweeps/{name}.yaml"


# --- what a run has of it -----------------------------------------------------------------------


def scores(sheet: RunSheet) -> Rows:
    """avg, last and bwt_dmole of every method, means over seeds."""
    content = artifacts.read_json("metrics", sheet.root / "metrics.json")
    names = ("avg", "last", "bwt_dmole")
    return [
        {"method": found["method"]}
        | {name: _number(found["metrics"][name]["mean"]) for name in names}
        for found in content["summary"]
    ]


def hours(sheet: RunSheet) -> Rows:
    """Training of all tasks, and the preparation that methods share, of every method."""
    return [
        {
            "method": found["name"],
            "training (h)": _number(found["costs"]["training"], 3600),
            "preparation (h)": _number(found["costs"]["preparation"], 3600),
        }
        for found in _comparison(sheet)["methods"]
    ]


def stages(sheet: RunSheet) -> Rows:
    """Seconds of the stages that route, and that answer."""
    wanted = ("extract_features", "route_samples", "predict")
    return [
        {"stage": found["rule"], "seconds in all": _number(found["total"])}
        for found in _comparison(sheet)["run_times"]
        if found["rule"] in wanted
    ]


def towers(sheet: RunSheet) -> Rows:
    """Share of the gradient norm and of the budget that the vision encoder has in every task.

    Raises:
        InputError: the run has no allocations.
    """
    run = next((run for run in sheet.runs if "allocation" in run.artefacts), None)
    if run is None:
        raise InputError(f"{sheet.path}: no run with allocations.")
    found = []
    for task in run.tasks:
        content = artifacts.read_json("allocation", run.file("allocation", task))
        vision = content["towers"]["vision"]
        of_vision = f"{vision['budget']} of {content['budget']}"
        found.append({"task": task, "norm": _number(vision["ratio"]), "experts": of_vision})
    return found


def _comparison(sheet: RunSheet) -> dict[str, Any]:
    return artifacts.read_json("comparison", sheet.root / "comparison.json")


def _number(value: float | None, unit: float = 1) -> str:
    return "·" if value is None else f"{value / unit:.2f}"


# --- the paper's tables and figures ---------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """A table or figure: what it shows, what makes it, the published file, and a run's numbers."""

    shows: str
    command: str
    look: str = ""  # where the result is seen
    published: str = ""
    ours: Callable[[RunSheet], Rows] | None = None


ITEMS = {
    "table1": Item("tasks and rows", "cmit plan --config cmit", published="table1_datasets"),
    "table2": Item(
        "AVG, Last and BWT of all methods",
        sweep("table2"),
        "report.html, comparison.md",
        "cmit",
        scores,
    ),
    "table3": Item(
        "general benchmarks after the stream",
        "cmit general results/cmit --tasks mme,mmmu_val,pope",
        "general.json",
        "table3_general_benchmarks",
    ),
    "table4": Item(
        "training time in all", RUN, "comparison.md, Costs", "table8_training_hours", hours
    ),
    "table7": Item(
        "thresholds times 0.1 to 10",
        sweep("threshold"),
        "report.html, sensitivity",
        "table7_threshold_scaling_last",
        scores,
    ),
    "table8": Item(
        "training time by task",
        RUN,
        "cmit plan --config cmit; report.html, run times",
        "table8_training_hours",
        hours,
    ),
    "table9": Item(
        "time of preparation", RUN, "comparison.md, Costs", "table9_preprocessing", hours
    ),
    "table10": Item(
        "time of routing", RUN, "report.html, run times", "table10_routing_cost", stages
    ),
    "table11": Item(
        "one, two and four times the parameters",
        sweep("budget"),
        "report.html, parameters",
        "table11_budgets",
        scores,
    ),
    "figure1": Item("gradient norm of every slot", RUN, "report.html, slots; cmit inspect PROFILE"),
    "figure2": Item("share of the towers by task", RUN, "cmit inspect ALLOCATION", ours=towers),
    "figure4": Item("ablations", sweep("ablations"), "report.html", ours=scores),
    "figure5": Item(
        "how far tasks lie apart",
        "cmit projection results/cmit figure5.svg",
        "figure5.svg, principal components instead of t-SNE; in numbers, cmit separability",
    ),
    "figure6": Item("slots with an expert after each task", RUN, "report.html, evolution"),
    "figure7": Item("experts that answer each task", RUN, "report.html, activation"),
}


def show(name: str, sheet: RunSheet | None) -> Iterator[RenderableType]:
    """An item: the command, what was published, and what a run has.

    Raises:
        InputError: no such item, or a file of the run is missing.
    """
    from rich.text import Text

    from stages.tools.display import STRONG

    if name not in ITEMS:
        raise unknown("table or figure", name, ITEMS, "cmit paper")
    item = ITEMS[name]
    yield Text(f"{name}: {item.shows}", STRONG)
    yield Text(f"run:   {item.command}")
    if item.look:
        yield Text(f"look:  {item.look}")
    if item.published:
        yield Text("published (InternVL2-2B, CMIT):")
        yield _table(published(item.published))
    if sheet is not None:
        if item.ours is None:
            raise InputError(f"{name}: has no numbers of its own; {item.look or item.command}.")
        yield Text(f"{sheet.path}:")
        yield _table(item.ours(sheet))


def published(name: str) -> Rows:
    """Rows of a published table."""
    folder = "published" if name == "cmit" else "paper"  # the first is what reports show too
    path = WORKFLOW / "report" / folder / f"{name}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _table(rows: Rows) -> RenderableType:
    from stages.tools.display import table

    made = table(*rows[0], left=1)
    for row in rows:
        made.add_row(*row.values())
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    from stages.core.runs.find_run import find_run

    parser = cli.parser(__doc__, config=False)
    parser.add_argument("item", nargs="?", metavar="ITEM", help=", ".join(ITEMS))
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="results of a run")
    args = parser.parse_args(argv)

    from stages.tools.display import console

    out = console()
    if args.item is None:
        for name, item in ITEMS.items():
            out.print(f"{name:<8} {item.shows}")
        return
    for part in show(args.item, find_run(args.run)[0] if args.run else None):
        out.print(part)


if __name__ == "__main__":
    cli.run(main)

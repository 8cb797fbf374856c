"""Make the report: one HTML file with tables and pictures that needs no network and no other file.

Reads   scores.parquet, metrics.json and, as far as given, profiles, allocations, routers,
        transfers, experts (their training.json), routes and Snakemake's benchmark files, of any
        number of seeds and variants; both come from the paths (``seed0/...``, ``seed0/dmole/...``)
Writes  report.html; equal inputs give equal bytes. A section without inputs is one line.
Config  all of it: the report says what was run, and in which switches that is not preset paper

    python -m stages.report --scores results/pocket/scores.parquet \\
        --metrics results/pocket/metrics.json --config workflow/config/pocket.yaml \\
        --profiles results/pocket/seed0/profiles/*.parquet \\
        --routes dmole 0 results/pocket/seed0/dmole/routes/signs_ocr.parquet \\
        --out results/pocket/report.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core import artifacts, cli, config
from stages.core.errors import InputError

if TYPE_CHECKING:
    from stages.core.figures.results import Results

TEMPLATE = Path(__file__).parent / "core" / "report_template.html"


def report(results: Results) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    from stages.core.figures import SECTIONS

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    plural = "s" if len(results.seeds) > 1 else ""
    return environment.from_string(TEMPLATE.read_text()).render(
        title=f"Continual instruction tuning on {results.config['stream']}",
        subtitle=f"{len(results.tasks)} tasks · {', '.join(results.methods)} · "
        f"seed{plural} {', '.join(map(str, results.seeds))}",
        sections=[section(results) for section in SECTIONS],
    )


def gather(args: argparse.Namespace) -> Results:
    """All inputs named on the command line, read and grouped."""
    from stages.core.figures import results as read

    settings = config.from_argument(args.config)
    tasks = settings["tasks"]
    metrics = artifacts.read_json("metrics", args.metrics)
    if metrics["tasks"] != tasks:
        raise InputError(f"{args.metrics}: its tasks are not those of the config; score again.")

    def grouped(paths: list[str] | None, reader: object) -> dict:
        return read.by_scope(cli.paths(paths), tasks, reader)

    return read.Results(
        config=settings,
        tasks=tasks,
        scores=read.read_scores(args.scores, tasks),
        metrics=metrics,
        made_by=artifacts.metadata(args.scores).get("provenance") or {},
        profiles=grouped(args.profiles, read.read_profile),
        allocations=grouped(args.allocations, read.read_named("allocation")),
        routers=grouped(args.routers, read.read_named("router")),
        transfers=grouped(args.transfers, read.read_named("transfer")),
        trainings=grouped(args.experts, read.read_training),
        routes=read.read_all_routes(args.routes or [], tasks),
        benchmarks=read.read_benchmarks(cli.paths(args.benchmarks)),
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--profiles", nargs="*", help="gradient profiles, all seeds and variants")
    parser.add_argument("--allocations", nargs="*", help="allocation JSONs")
    parser.add_argument("--routers", nargs="*", help="router JSONs (not the weights)")
    parser.add_argument("--transfers", nargs="*", help="transfer JSONs")
    parser.add_argument("--experts", nargs="*", help="expert folders, for parameter counts")
    parser.add_argument(
        "--routes",
        nargs=3,
        action="append",
        metavar=("METHOD", "SEED", "PATH"),
        help="routes of one method, seed and task; repeat",
    )
    parser.add_argument("--benchmarks", nargs="*", help="Snakemake benchmark files (.../RULE/...)")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    page = report(gather(args))
    with artifacts.replacing(args.out) as draft:
        draft.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

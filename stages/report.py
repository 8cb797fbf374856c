"""Make the report: one HTML file with tables and pictures that needs no network and no other file,
and the tables that compare the methods once more as Markdown, for a repository.

Reads   scores.parquet, metrics.json and, as far as given, profiles, allocations, routers,
        transfers, experts (their training.json), routes and Snakemake's benchmark files, of any
        number of seeds and variants; both come from the paths (``seed0/...``, ``seed0/dmole/...``);
        a published table to be shown beside (metric, method, one column per task, Average)
Writes  report.html and comparison.md; equal inputs give equal bytes. A section without inputs is
        one line.
Config  all of it: the report says what was run, and in which switches that is not preset paper

    python -m stages.report --scores results/pocket/scores.parquet \\
        --metrics results/pocket/metrics.json --config workflow/config/pocket.yaml \\
        --profiles results/pocket/seed0/profiles/*.parquet \\
        --routes dmole 0 results/pocket/seed0/dmole/routes/*.parquet \\
        --published workflow/report/dmole_table2.csv \\
        --out results/pocket/report.html --out-comparison results/pocket/comparison.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import artifacts, cli, config
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from stages.core.report.results import Results

TEMPLATE = Path(__file__).parent / "core" / "report" / "template.html"


def report(results: Results) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    from stages.core.report.sections import SECTIONS

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    plural = "s" if len(results.seeds) > 1 else ""
    return environment.from_string(TEMPLATE.read_text()).render(
        title=f"Continual instruction tuning on {results.config['stream']}",
        subtitle=f"{len(results.tasks)} tasks · {', '.join(results.methods)} · "
        f"seed{plural} {', '.join(map(str, results.seeds))}",
        sections=[section(results) for section in SECTIONS],
    )


def comparison(results: Results) -> str:
    """The comparison of the methods as Markdown text."""
    from stages.core.report import comparison as compared
    from stages.core.report.markdown import markdown

    made = f"Written by `{results.command}`." if results.command else ""
    rows = ", ".join(f"{n or 'all'} {split}" for split, n in results.config["rows"].items())
    size = f"{len(results.tasks)} tasks ({', '.join(results.tasks)}), rows of each: {rows}; seeds "
    text = size + f"{', '.join(map(str, results.seeds))}."
    heading = f"Methods on the stream {results.config['stream']}"
    return markdown(compared.section(results), heading, " ".join(filter(None, [made, text])))


def gather(args: argparse.Namespace) -> Results:
    """All inputs named on the command line, read and grouped."""
    from stages.core.report import results as read

    settings = config.from_argument(args.config)
    tasks = settings["tasks"]
    metrics = artifacts.read_json("metrics", args.metrics)
    if metrics["tasks"] != tasks:
        raise InputError(f"{args.metrics}: its tasks are not those of the config; score again.")

    def grouped(paths: list[str] | None, reader: object) -> dict:
        return read.by_scope(cli.paths(paths), tasks, reader, read.orders_of(settings))

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
        published=read.read_published(args.published) if args.published else [],
        command=args.command,
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
        nargs="+",
        action="append",
        metavar=("METHOD", "SEED"),
        help="method, seed and the routes of its tasks; repeat",
    )
    parser.add_argument("--benchmarks", nargs="*", help="Snakemake benchmark files (.../RULE/...)")
    parser.add_argument("--published", type=Path, help="CSV of a published table")
    parser.add_argument("--command", default="", help="what made the run; for the Markdown")
    parser.add_argument("--out", type=Path, required=True, help="HTML file to write")
    parser.add_argument("--out-comparison", type=Path, required=True, help="Markdown to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    results = gather(args)
    for path, text in ((args.out, report(results)), (args.out_comparison, comparison(results))):
        with artifacts.replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

"""Make the report: one HTML file with tables and pictures that needs no network and no other file.

Reads   the run sheet, scores.parquet, metrics.json, comparison.json, and through the sheet
        profiles, allocations, routers, transfers, experts (their training.json), routes, and for
        the examples test rows, predictions and sample_scores.parquet
Writes  report.html; equal inputs give equal bytes. A section without inputs is one line.

    python -m stages.report --runs results/pocket/runs.json \\
        --scores results/pocket/scores.parquet --metrics results/pocket/metrics.json \\
        --comparison results/pocket/comparison.json --out results/pocket/report.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, writing
from stages.core.runs.results import Results

IMAGE_BYTES = 1_200_000  # of the examples, all together
ARTEFACTS = ("profile", "allocation", "router", "transfer", "expert")


def report(results: Results) -> str:
    """The page as HTML text."""
    from stages.core.report.page import render
    from stages.core.report.sections import SECTIONS

    methods, seeds = list(map(results.label, results.methods)), results.seeds
    parts = [
        f"{len(results.tasks)} tasks",
        ", ".join(methods) if len(methods) < 7 else f"{len(methods)} methods",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
    ]
    return render(
        f"Continual instruction tuning on {results.config['stream']}",
        " · ".join(parts),
        [section(results) for section in SECTIONS],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    for flag in ("--runs", "--scores", "--metrics", "--comparison", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    args = parser.parse_args(argv)

    from stages.core.runs.edited import find_edits
    from stages.core.runs.examples import read_examples
    from stages.core.runs.results import read_results
    from stages.core.runs.run_sheet import RunSheet

    sheet = RunSheet(args.runs)
    results = read_results(sheet, args.scores, args.metrics, *ARTEFACTS)
    results.edits = find_edits(sheet)
    results.comparison = artifacts.read_json("comparison", args.comparison)
    results.examples = read_examples(sheet, results.comparison, IMAGE_BYTES)
    with writing.replacing(args.out) as draft:
        draft.write_text(report(results), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

"""Make the report: one HTML file with tables and pictures that needs no network and no other file.

Reads   the run sheet, scores.parquet, metrics.json, comparison.json, separability.json, and
        through the sheet profiles, allocations, routers, transfers, experts (their training.json),
        routes, and for the examples test rows, predictions and sample_scores.parquet; robust.json
        and general.json of runs, as far as they are there
Writes  report.html, and figures as SVG files; equal inputs give equal bytes. A section without
        inputs is reduced to one line.

    python -m stages.report --runs results/pocket/runs.json \\
        --scores results/pocket/scores.parquet --metrics results/pocket/metrics.json \\
        --comparison results/pocket/comparison.json \\
        --separability results/pocket/separability.json --out results/pocket/report.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import artifacts, cli, writing
from stages.core.runs.results import Results

if TYPE_CHECKING:
    from stages.core.report.page import Section

IMAGE_BYTES = 1_200_000  # of the examples, all together
ARTEFACTS = ("profile", "allocation", "router", "transfer", "expert")


def report(results: Results, sections: list[Section]) -> str:
    """The page as HTML text."""
    from stages.core.report.page import render

    methods, seeds = list(map(results.label, results.methods)), results.seeds
    parts = [
        f"{len(results.tasks)} tasks",
        ", ".join(methods) if len(methods) < 7 else f"{len(methods)} methods",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
    ]
    return render(
        f"Continual instruction tuning on {results.config['stream']}",
        " · ".join(parts),
        sections,
    )


def write_figures(folder: Path, sections: list[Section]) -> None:
    """Write the named pictures as SVG files, instead of those of an earlier report."""
    from stages.core.report.page import pictures

    writing.make_folder(folder)
    for old in folder.glob("*.svg"):
        old.unlink()
    for picture in pictures([block for section in sections for block in section.blocks]):
        if picture.name:
            with writing.replacing(folder / f"{picture.name}.svg") as draft:
                draft.write_text(picture.canvas.file(picture.alt), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    for flag in ("--runs", "--scores", "--metrics", "--comparison", "--separability", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--out-figures", type=Path, help="folder for the main pictures as SVG")
    args = parser.parse_args(argv)

    from stages.core.report.sections import SECTIONS
    from stages.core.runs.edited import find_edits
    from stages.core.runs.examples import read_examples
    from stages.core.runs.results import read_measured, read_results
    from stages.core.runs.run_sheet import RunSheet

    sheet = RunSheet(args.runs)
    results = read_results(sheet, args.scores, args.metrics, *ARTEFACTS)
    results.edits = find_edits(sheet)
    results.robust, results.general = (read_measured(sheet, name) for name in ("robust", "general"))
    results.comparison = artifacts.read_json("comparison", args.comparison)
    results.separability = artifacts.read_json("separability", args.separability)
    results.examples = read_examples(sheet, results.comparison, IMAGE_BYTES)
    sections = [found for section in SECTIONS if (found := section(results))]
    with writing.replacing(args.out) as draft:
        draft.write_text(report(results, sections), encoding="utf-8")
    if args.out_figures:
        write_figures(args.out_figures, sections)


if __name__ == "__main__":
    cli.run(main)

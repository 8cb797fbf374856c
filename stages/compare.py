"""Compare the methods: scores over seeds, costs, paired differences, routing quality, run times.

Reads   the run sheet, scores.parquet, sample_scores.parquet, metrics.json, and through the sheet
        routers, experts (their training.json), routes and Snakemake's benchmark files as far as
        they are there; a published table of the same stream to be shown beside, if the kind of
        backbone is the same
Writes  comparison.json, and the same as tables in comparison.md, for a repository

    python -m stages.compare --runs results/pocket/runs.json \\
        --scores results/pocket/scores.parquet --samples results/pocket/sample_scores.parquet \\
        --metrics results/pocket/metrics.json \\
        --published workflow/report/published/cmit.csv \\
        --out comparison.json --out-text comparison.md
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.base import artifacts, cli, provenance, writing
from stages.core.runs.results import Results


def as_text(content: dict[str, Any], results: Results) -> str:
    """The comparison as Markdown."""
    from stages.core.report.comparison import tables
    from stages.core.report.markdown import code, markdown, plain

    made = f"Written by {code(results.command)}." if results.command else ""
    limits = dict(results.config["rows"])
    if held_out := limits.pop("held_out", None):
        limits["test"] = f"{held_out} training rows as"
    rows = ", ".join(f"{n or 'all'} {split}" for split, n in limits.items())
    seeds, tasks = ", ".join(map(str, content["seeds"])), content["tasks"]
    size = f"{len(tasks)} tasks ({', '.join(tasks)}), rows of each: {rows}; seeds {seeds}."
    heading = f"Methods on the stream {content['stream']}"
    return markdown(tables(content), heading, " ".join(filter(None, [made, plain(size)])))


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    for flag in ("--runs", "--scores", "--samples", "--metrics", "--out", "--out-text"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument(
        "--published", type=Path, nargs="?", help="CSV of published results on this stream"
    )
    parser.add_argument("--command", default="", help="what made the run; for the Markdown")
    args = parser.parse_args(argv)

    from stages.core.costs.comparison import compare_runs
    from stages.core.evaluation.last_samples import read_last_samples
    from stages.core.runs.results import read_published, read_results
    from stages.core.runs.run_sheet import RunSheet

    sheet = RunSheet(args.runs)
    results = read_results(sheet, args.scores, args.metrics, "router", "expert")
    backbone = Path(results.config["backbone"]["path"])
    results.published = read_published(args.published, backbone) if args.published else []
    results.last_samples = read_last_samples(args.samples, results.scores)
    results.command = args.command
    content = compare_runs(results)
    inputs = {"scores": args.scores, "sample_scores": args.samples, "metrics": args.metrics}
    content["provenance"] = provenance.record("compare", inputs, {})
    artifacts.write_json("comparison", args.out, content)
    with writing.replacing(args.out_text) as draft:
        draft.write_text(as_text(content, results), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)

"""Ask a finished model its test questions in other words: who answers, and how well.

Reads   the results of a run, its backbone, the manifests of its tasks
Writes  to the terminal, and with --save or --out the same as JSON

Per kind of wording, of methods that route by threshold: how often the own expert answers and comes
first, and how well known samples are told from those of tasks not learnt yet (AUROC of the lowest
loss / threshold over all steps, against unknown samples as they are asked). With --answers also the
score: of any method as it answers, and of those that route by the own expert and by the backbone
alone.

    cmit robust results/demo
    cmit robust results/demo --method dmole,seq_ft --answers --samples 40 --save

The report shows what --save wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from stages.core.model.source import RunSource
    from stages.core.runs.run_sheet import RunSheet

SHOWN = ("own_first", "rejected", "other_first", "auroc", "unknown_rejected")


def lines(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """The entries over all tasks as lines, by run: who answers (shares in 0..1), then the scores of
    all runs side by side (per cent)."""
    overall = {
        name: {entry["kind"]: entry for entry in found if entry["task"] is None}
        for name, found in measured.items()
    }
    for name, entries in overall.items():
        keys = [key for key in next(iter(entries.values())) if key in SHOWN]
        if keys:
            yield f"{name}: who answers"
            yield from _rows(
                keys, {k: [entry[key] for key in keys] for k, entry in entries.items()}
            )
    columns = {
        f"{name}: {key.removeprefix('score_')}": {k: e[key] for k, e in entries.items()}
        for name, entries in overall.items()
        for key in next(iter(entries.values()))
        if key.startswith("score_")
    }
    if columns:
        kinds = dict.fromkeys(kind for values in columns.values() for kind in values)
        yield "score"
        yield from _rows(
            list(columns), {k: [values.get(k) for values in columns.values()] for k in kinds}
        )


def _rows(head: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    widths = [max(12, len(name)) for name in head]
    yield "  ".join(["wording".ljust(18), *(n.rjust(w) for n, w in zip(head, widths, strict=True))])
    for kind, values in rows.items():
        cells = ("–" if value is None else f"{value:.4g}" for value in values)
        yield "  ".join([kind.ljust(18), *(c.rjust(w) for c, w in zip(cells, widths, strict=True))])


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="results of a run")
    parser.add_argument("--method", help="methods or variants, with commas (default, the first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--backbone", help="its folder, where the run's is no longer there")
    parser.add_argument("--samples", type=int, default=60, help="of each task (default 60)")
    parser.add_argument("--answers", action="store_true", help="answer and score as well")
    parser.add_argument("--save", action="store_true", help="write JSON where the report finds it")
    parser.add_argument("--out", type=Path, help="JSON file to write, of one method")
    args = parser.parse_args(argv)
    if args.samples < 1:
        raise InputError(f"--samples: {args.samples} is not a positive number.")

    from stages.core.model.continual import ContinualModel
    from stages.core.model.robust import measure, read_questions

    names = args.method.split(",") if args.method else [None]
    if args.out and len(names) > 1:
        raise InputError("--out: one file for several methods; --save writes one for each.")
    sources = [_source(args, name) for name in names]
    measured = {}
    for sheet, source in sources:
        model = ContinualModel.of(source, backbone=args.backbone)
        asked = read_questions(sheet, source.files, args.samples)
        measured[source.run] = measure(model, asked, args.answers)
        files = [args.out] if args.out else []
        files += [source.files.measures["robust"]] if args.save else []
        for file in files:
            content = {"samples": args.samples, "wordings": measured[source.run]}
            artifacts.write_json("robust", file, content)
    print("\n".join(lines(measured)))


def _source(args: argparse.Namespace, name: str | None) -> tuple[RunSheet, RunSource]:
    """The model of a run that can be measured as asked for."""
    from stages.core.model.source import RunSource
    from stages.core.runs.find_run import find_run

    sheet, run = find_run(Path(args.run), name, args.seed)
    source = RunSource(sheet, run)
    if not source.routed and not args.answers:
        raise InputError(
            f"{run.name} does not route by threshold, so only its answers can be measured: "
            "add --answers, or name another --method."
        )
    if args.save and "robust" not in run.measures:
        raise InputError(
            f"{sheet.path}: does not say where what is measured belongs; let snakemake make it "
            "again (--forcerun list_runs), or name a file by --out."
        )
    return sheet, source


if __name__ == "__main__":
    cli.run(main)

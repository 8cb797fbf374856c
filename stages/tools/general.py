"""Ask a finished model general benchmarks: what instruction tuning costs elsewhere.

Reads   the results of a run (or a folder of `cmit export`), its backbone; lmms-eval loads the tasks
Writes  to the terminal, and with --out the same as JSON

    cmit general results/demo --tasks mme,pope
    cmit general results/demo --tasks pope --step 0 --limit 200      # the untouched backbone

It needs lmms-eval: pip install -e ".[eval]". Where there is no network, the tasks' data must be in
the cache of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, provenance
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from stages.core.model.source import Source


def lines(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Task, samples, metric and value, a line per metric."""
    for entry in entries:
        for metric, value in entry["metrics"].items():
            yield f"{entry['task']:<24} {entry['n']:>6}  {metric:<32} {value:.6g}"


def _made_of(source: Source, step: int) -> dict[str, Any]:
    files = {f"{name}/{task}": path for name, task, path in source.needed(step)}
    return provenance.record(
        "tools.general", files, source.config, seed=source.seed, method=source.method.name
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run, or an export")
    parser.add_argument("--tasks", required=True, help="of lmms-eval, with commas: mme,pope")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--step", type=int, help="after so many tasks (default, all)")
    parser.add_argument("--limit", type=int, help="only the first samples of each task")
    parser.add_argument("--backbone", help="its folder, where the run's is no longer there")
    parser.add_argument("--include", type=Path, help="folder of further tasks for lmms-eval")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit: {args.limit} is not a positive number.")

    from stages.core.model.continual import ContinualModel
    from stages.core.model.exported import find_source
    from stages.core.model.general import check_installed, evaluate

    check_installed()
    source = find_source(args.run, args.method, args.seed)
    step = len(source.tasks) if args.step is None else args.step
    source.check(step)
    source.steps(None)  # a method that must be told the task cannot be asked
    model = ContinualModel.of(source, step, backbone=args.backbone)
    found = evaluate(model, args.tasks.split(","), args.limit, args.include)
    print("\n".join(lines(found)))
    if args.out:
        content = {
            "run": source.run,
            "method": source.method.name,
            "seed": source.seed,
            "step": step,
            "limit": args.limit,
            "lmms_eval": version("lmms-eval"),
            "tasks": found,
            "provenance": _made_of(source, step),
        }
        artifacts.write_json("general", args.out, content)


if __name__ == "__main__":
    cli.run(main)

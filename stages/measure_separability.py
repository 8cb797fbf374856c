"""Measure how far the tasks can be told apart without learning, so what routing scores mean.

Reads   the run sheet, and through it the features of subsets and test rows, and all rows
Writes  separability.json: for each set of features (a seed's, or a variant's own) the share of test
        rows whose nearest mean feature, or nearest single row, is the own task's; and the share of
        each task's test prompts and images that each task trains on

    python -m stages.measure_separability --runs results/demo/runs.json --out separability.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, provenance

if TYPE_CHECKING:
    from stages.core.runs.run_sheet import RunSheet


def measure(sheet: RunSheet) -> dict[str, Any]:
    """The content of the artefact, without provenance.

    Raises:
        InputError: a file that is missing or damaged.
    """
    from stages.core.runs.separability import feature_sets, overlaps, told_apart

    train, test = (
        {task: file for _, task, file in sheet.files(name)} for name in ("train_rows", "test_rows")
    )
    return {
        "tasks": sheet.tasks,
        "features": [
            {
                "scope": scope,
                "seed": runs[0].seed,
                "runs": [run.name for run in runs],
                **told_apart(runs[0]),
            }
            for scope, runs in feature_sets(sheet).items()
        ],
        **overlaps(train, test),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--runs", type=Path, required=True, help="run sheet")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    from stages.core.runs.run_sheet import RunSheet

    sheet = RunSheet(args.runs)
    files = {
        f"{name}/{scope}/{task}": file
        for name in ("subset_features", "test_features")
        for scope, task, file in sheet.files(name)
    }
    content = measure(sheet)
    content["provenance"] = provenance.record("measure_separability", files, {})
    artifacts.write_json("separability", args.out, content)


if __name__ == "__main__":
    cli.run(main)

"""Ask a finished model its test questions in other words: who answers, and how well.

Reads   the results of a run that routes by threshold, its backbone, the manifests of its tasks
Writes  to the terminal, and with --out the same as JSON

Per kind of wording: how often the own expert answers and comes first, and how well known samples
are told from those of tasks not learnt yet (AUROC of the lowest loss / threshold over all steps,
against unknown samples as they are asked). With --answers also the score: as routed, by the own
expert, and by the backbone alone.

    cmit robust results/demo
    cmit robust results/demo --samples 40 --answers --out results/demo/seed0/dmole/robust.json

The report shows a robust.json in the folder of its run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from stages.core.model.continual import ContinualModel
    from stages.core.runs.run_sheet import Run, RunSheet

PLAIN = "plain"


@dataclass(frozen=True)
class Asked:
    """Samples of a task under every kind of wording that it has."""

    task: str
    metric: Any  # as its manifest has it
    rows: list[dict[str, Any]]
    texts: dict[str, list[str]]  # by kind, one per row


def read_questions(sheet: RunSheet, run: Run, samples: int) -> list[Asked]:
    """The first test samples of each task, as they are asked and in other words.

    Raises:
        InputError: a manifest or the test rows are missing.
    """
    from stages.core.data.markers import without_places
    from stages.core.data.wordings import wordings
    from stages.core.runs.runs import Runs

    runs, found = Runs(sheet.config), []
    for task in run.tasks:
        manifest, file = runs.manifest(task), run.file("test_rows", task)
        rows = artifacts.read_table("data", file).slice(0, samples).to_pylist()
        texts: dict[str, list[str]] = defaultdict(list)
        for i, row in enumerate(rows):
            question = without_places(row["turns"][0]["question"])
            for kind, others in {PLAIN: [question], **wordings(question, manifest.content)}.items():
                texts[kind].append(others[i % len(others)])
        whole = {kind: own for kind, own in texts.items() if len(own) == len(rows)}
        found.append(Asked(task, artifacts.task_record(file)["metric"], rows, whole))
    return found


def measure(model: ContinualModel, asked: Sequence[Asked], answers: bool) -> list[dict[str, Any]]:
    """One entry per kind and task, and per kind over all tasks (``task: null``)."""
    losses = {one.task: _losses(model, one) for one in asked}
    unknown = _unknown_ratios(model, losses)
    found = []
    for kind in dict.fromkeys(kind for one in asked for kind in one.texts):
        own = [one for one in asked if kind in one.texts]
        entries = [_entry(model, one, kind, losses[one.task][kind]) for one in own]
        if answers:
            for entry, one in zip(entries, own, strict=True):
                entry |= _scores(model, one, kind, losses[one.task][kind])
        known = _known_ratios(model, {one.task: losses[one.task][kind] for one in own})
        found += [*entries, _over_tasks(entries, known, unknown)]
    return found


def _losses(model: ContinualModel, asked: Asked) -> dict[str, np.ndarray]:
    """Loss of every row under every router ``(rows, tasks)``, by kind."""
    kinds = list(asked.texts)
    texts = list(map(list, zip(*asked.texts.values(), strict=True)))
    every = model.losses(asked.rows, texts)
    return {kind: every[i :: len(kinds)] for i, kind in enumerate(kinds)}


def _entry(model: ContinualModel, asked: Asked, kind: str, losses: np.ndarray) -> dict[str, Any]:
    routes = model.routes_of(losses)
    return {
        "kind": kind,
        "task": asked.task,
        "n": len(routes),
        "own_first": _mean([route.experts[:1] == [asked.task] for route in routes]),
        "rejected": _mean([not route.experts for route in routes]),
        "other_first": _mean([bool(r.experts and r.experts[0] != asked.task) for r in routes]),
    }


def _known_ratios(model: ContinualModel, losses: Mapping[str, np.ndarray]) -> list[float]:
    """Lowest ratios of samples at every step at which their task is known."""
    tasks = model.source.tasks
    return [
        value
        for task, table in losses.items()
        for step in range(tasks.index(task) + 1, len(tasks) + 1)
        for value in _lowest_ratios(model, table[:, :step])
    ]


def _unknown_ratios(model: ContinualModel, losses: Mapping[str, Mapping]) -> list[float]:
    """The same at the steps before, of questions as they are asked."""
    return [
        value
        for number, task in enumerate(model.source.tasks)
        for step in range(1, number + 1)
        for value in _lowest_ratios(model, losses[task][PLAIN][:, :step])
    ]


def _lowest_ratios(model: ContinualModel, losses: np.ndarray) -> list[float]:
    return [min(route.ratios.values()) for route in model.routes_of(losses)]


def _over_tasks(
    entries: list[dict[str, Any]], known: list[float], unknown: list[float]
) -> dict[str, Any]:
    import numpy as np

    from stages.core.evaluation.routing_quality import auroc

    numbers = [key for key in entries[0] if key not in ("kind", "task", "n")]
    return {
        "kind": entries[0]["kind"],
        "task": None,
        "n": sum(entry["n"] for entry in entries),
        **{key: _mean([entry[key] for entry in entries]) for key in numbers},
        "auroc": auroc(np.array(unknown), np.array(known)),
        "unknown_rejected": _mean([value > 1 for value in unknown]) if unknown else None,
    }


def _scores(model: ContinualModel, asked: Asked, kind: str, losses: np.ndarray) -> dict[str, float]:
    """Mean score as routed, by the own expert, and by the backbone alone."""
    from stages.core.evaluation.scores import make_scorer

    rows = [
        row | {"turns": [row["turns"][0] | {"question": text}]}
        for row, text in zip(asked.rows, asked.texts[kind], strict=True)
    ]
    scorer = make_scorer(asked.metric, {r["sample_id"]: r for r in asked.rows})
    routed = [route.experts for route in model.routes_of(losses)]
    sets = {"routed": routed, "own": [[asked.task]] * len(rows), "backbone": [[]] * len(rows)}
    found = {}
    for name, experts in sets.items():
        texts = model.answers_of(rows, experts, [asked.task] * len(rows))
        found[f"score_{name}"] = _mean([scorer(i, text)[0] for i, text in texts.items()])
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The entries over all tasks as lines of a table; shares in 0..1, scores in per cent."""
    overall = [entry for entry in found if entry["task"] is None]
    columns = list(dict.fromkeys(key for entry in overall for key in entry))[2:]
    yield "  ".join(["wording".ljust(18), *(name.rjust(12) for name in columns)])
    for entry in overall:
        cells = [entry["kind"].ljust(18)]
        for name in columns:
            value = entry[name]
            cells.append(("–" if value is None else f"{value:.4g}").rjust(12))
        yield "  ".join(cells)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", metavar="RUN", help="results of a run")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--backbone", help="its folder, where the run's is no longer there")
    parser.add_argument("--samples", type=int, default=60, help="of each task (default 60)")
    parser.add_argument("--answers", action="store_true", help="answer and score as well")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.samples < 1:
        raise InputError(f"--samples: {args.samples} is not a positive number.")

    from stages.core.model.continual import ContinualModel
    from stages.core.model.source import RunSource
    from stages.core.runs.find_run import find_run

    sheet, run = find_run(Path(args.run), args.method, args.seed)
    source = RunSource(sheet, run)
    if not source.routed:
        raise InputError(f"{run.name} does not route by threshold; name such a --method.")
    asked = read_questions(sheet, run, args.samples)
    model = ContinualModel.of(source, backbone=args.backbone)
    found = measure(model, asked, args.answers)
    print("\n".join(lines(found)))
    if args.out:
        artifacts.write_json("robust", args.out, {"samples": args.samples, "wordings": found})


if __name__ == "__main__":
    cli.run(main)

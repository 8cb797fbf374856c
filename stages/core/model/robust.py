"""A finished model asked its test questions in other words: who answers, and how well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts

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
    if not model.source.routed:
        return _measure_scores(model, asked)
    losses = {one.task: _losses(model, one) for one in asked}
    unknown = _unknown_ratios(model, losses)
    found = []
    for kind, own in _by_kind(asked, model.source.run if answers else None):
        entries = [_entry(model, one, kind, losses[one.task][kind]) for one in own]
        if answers:
            for entry, one in zip(entries, own, strict=True):
                entry |= _scores(model, one, kind, _choices(model, one, losses[one.task][kind]))
        known = _known_ratios(model, {one.task: losses[one.task][kind] for one in own})
        found += [*entries, _over_tasks(entries) | _told_apart(known, unknown)]
    return found


def _measure_scores(model: ContinualModel, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """The scores alone, of a method whose states do not depend on the question."""
    found = []
    for kind, own in _by_kind(asked, model.source.run):
        entries = []
        for one in own:
            states = [model.source.active(one.task, None)] * len(one.rows)
            entry = {"kind": kind, "task": one.task, "n": len(one.rows)}
            entries.append(entry | _scores(model, one, kind, {"routed": states}))
        found += [*entries, _over_tasks(entries)]
    return found


def _by_kind(asked: Sequence[Asked], name: str | None) -> Iterator[tuple[str, list[Asked]]]:
    """Every kind of wording with the tasks that have it; under a name with a bar of progress."""
    from tqdm import tqdm

    kinds = dict.fromkeys(kind for one in asked for kind in one.texts)
    for kind in tqdm(kinds, desc=name, unit="wording", disable=name is None):
        yield kind, [one for one in asked if kind in one.texts]


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


def _over_tasks(entries: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = [key for key in entries[0] if key not in ("kind", "task", "n")]
    return {
        "kind": entries[0]["kind"],
        "task": None,
        "n": sum(entry["n"] for entry in entries),
        **{key: _mean([entry[key] for entry in entries]) for key in numbers},
    }


def _told_apart(known: list[float], unknown: list[float]) -> dict[str, Any]:
    """How well ratios of known samples are told from those of unknown ones."""
    import numpy as np

    from stages.core.evaluation.routing_quality import auroc

    return {
        "auroc": auroc(np.array(unknown), np.array(known)),
        "unknown_rejected": _mean([value > 1 for value in unknown]) if unknown else None,
    }


def _choices(model: ContinualModel, asked: Asked, losses: np.ndarray) -> dict[str, list[list[str]]]:
    """Who may answer each row: as routed, the own expert, the backbone alone."""
    count = len(asked.rows)
    routed = [route.experts for route in model.routes_of(losses)]
    return {"routed": routed, "own": [[asked.task]] * count, "backbone": [[]] * count}


def _scores(
    model: ContinualModel, asked: Asked, kind: str, choices: Mapping[str, list[list[str]]]
) -> dict[str, float]:
    """Mean score under each choice of who answers; what is the same in two is answered once."""
    from stages.core.evaluation.scores import make_scorer

    rows = [
        row | {"turns": [row["turns"][0] | {"question": text}]}
        for row, text in zip(asked.rows, asked.texts[kind], strict=True)
    ]
    scorer = make_scorer(asked.metric, {row["sample_id"]: row for row in asked.rows})
    wanted: dict[tuple[str, ...], dict[str, dict[str, Any]]] = defaultdict(dict)
    for own in choices.values():
        for row, names in zip(rows, own, strict=True):
            wanted[tuple(names)][row["sample_id"]] = row
    scored: dict[tuple[str, tuple[str, ...]], float] = {}
    for experts, by_id in wanted.items():
        part = list(by_id.values())
        texts = model.answers_of(part, [experts] * len(part), [asked.task] * len(part))
        scored |= {(i, experts): scorer(i, text)[0] for i, text in texts.items()}
    return {
        f"score_{name}": _mean(
            [scored[row["sample_id"], tuple(names)] for row, names in zip(rows, own, strict=True)]
        )
        for name, own in choices.items()
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

"""A few test samples that show what a run did: what became of them, their answers, their image.

Of the reference and of the method that forgets most, in the first seed of each.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from stages.core.base import artifacts
from stages.core.data.faults import RowError
from stages.core.data.images import open_rgb
from stages.core.data.markers import without_places
from stages.core.runs.run_sheet import Run, RunSheet
from stages.core.runs.samples import Sample, course_of, kinds_of, read_samples, what_became
from stages.methods.registry import BOUNDS

EACH = 3  # samples of a kind, task and run, as far as the bytes reach
SIDE = 200  # pixels of an image's longer side at most
QUALITY = 70  # of JPEG


@dataclass(frozen=True)
class Thumbnail:
    """A small image as a data URI, or why there is none."""

    uri: str = ""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


@dataclass(frozen=True)
class Example:
    """A sample with its answers and kinds by run, and its first image (None: text only)."""

    sample_id: str
    question: str
    references: list[str]
    samples: dict[str, Sample]
    kinds: dict[str, list[str]]
    image: Thumbnail | None


@dataclass
class Examples:
    """What was found: by task the examples, and by task and run how many samples are of a kind."""

    runs: list[Run] = field(default_factory=list)
    by_task: dict[str, list[Example]] = field(default_factory=dict)
    counts: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)


def runs_to_show(sheet: RunSheet, comparison: dict[str, Any]) -> list[Run]:
    """The reference and the continual learner that forgets most, each under its first seed."""
    reference = comparison["reference"]
    lost = {
        entry["name"]: entry["metrics"]["forgetting"]["mean"] or 0.0
        for entry in comparison["methods"]
        if entry["name"] not in (reference, *BOUNDS)
    }
    names = [reference, *([max(lost, key=lost.__getitem__)] if lost else [])]
    first: dict[str, Run] = {}
    for run in sheet.runs:
        if run.name in names and "predictions" in run.artefacts:
            first.setdefault(run.name, run)
    return [first[name] for name in names if name in first]


def read_examples(sheet: RunSheet, comparison: dict[str, Any], budget: int) -> Examples:
    """Some samples of every task and kind.

    Args:
        budget: bytes that all images may take; samples beyond it are left out.

    Raises:
        InputError: a file of the runs is missing, or files do not belong together.
    """
    found = Examples(runs_to_show(sheet, comparison))
    picked: list[tuple[int, str, Example]] = []
    for task in sheet.tasks:
        samples = {
            run.name: _telling(read_samples(sheet, run, task), run, task) for run in found.runs
        }
        kinds = {
            run.name: {s.sample_id: what_became(s, run, task) for s in samples[run.name]}
            for run in found.runs
        }
        found.counts[task] = {
            name: Counter(kind for own in of.values() for kind in own) for name, of in kinds.items()
        }
        rounds = _pick(found.runs, kinds)
        by_id = {name: {s.sample_id: s for s in listed} for name, listed in samples.items()}
        for name, image in _images(found.runs, task, list(rounds)):
            picked.append((rounds[name], task, _example(name, by_id, kinds, image)))
    found.by_task = {task: [] for task in sheet.tasks}
    for task, example in _within(budget, picked):
        found.by_task[task].append(example)
    return found


def _within(budget: int, picked: list[tuple[int, str, Example]]) -> Iterator[tuple[str, Example]]:
    """The samples of the first rounds whose images fit; one image counts once for a task."""
    seen: set[tuple[str, str]] = set()
    for _, task, example in sorted(picked, key=lambda item: item[0]):
        uri = example.image.uri if example.image else ""
        cost = 0 if (task, uri) in seen else len(uri)
        if cost <= budget:
            budget -= cost
            seen.add((task, uri))
            yield task, example


def _telling(samples: list[Sample], run: Run, task: str) -> list[Sample]:
    """Samples that a method answered well right after learning, and not before or not at the end,
    first."""

    def contrast(sample: Sample) -> float:
        course = course_of(sample, run, task)
        return course.own.score - min(course.before.score, course.last.score)

    return sorted(samples, key=contrast, reverse=True)


def _pick(runs: list[Run], kinds: dict[str, dict[str, list[str]]]) -> dict[str, int]:
    """Ids of samples, each with the round in which it was picked: one of every kind and run in the
    first, another in the next; a sample that is picked already serves for its other kinds too."""
    picked: dict[str, int] = {}
    for place in range(EACH):
        for run in runs:
            for kind in kinds_of(run):
                of_kind = [name for name, own in kinds[run.name].items() if kind in own]
                if sum(name in picked for name in of_kind) <= place:
                    new = next((name for name in of_kind if name not in picked), None)
                    picked |= {} if new is None else {new: place}
    return picked


def _example(
    name: str,
    samples: dict[str, dict[str, Sample]],
    kinds: dict[str, dict[str, list[str]]],
    image: Thumbnail | None,
) -> Example:
    own = {run: by_id[name] for run, by_id in samples.items() if name in by_id}
    any_of = next(iter(own.values()))
    return Example(
        name,
        without_places(any_of.question),
        any_of.references,
        own,
        {run: kinds[run][name] for run in own},
        image,
    )


def _images(runs: list[Run], task: str, names: list[str]) -> Iterator[tuple[str, Thumbnail | None]]:
    """The first image of each of these samples, in their order."""
    if not names:
        return
    these = [("sample_id", "in", names)]
    columns = ["sample_id", "images"]
    table = artifacts.read_table("data", runs[0].file("test_rows", task), columns, these)
    images = {row["sample_id"]: row["images"] for row in table.to_pylist()}
    for name in names:
        try:
            yield name, thumbnail(images[name][0]) if images[name] else None
        except RowError as error:  # an image file that is no longer there is worth a remark
            yield name, Thumbnail(fault=str(error))


def thumbnail(image: dict[str, Any]) -> Thumbnail:
    """A row's image, no side longer than ``SIDE``, as JPEG.

    Raises:
        RowError: it cannot be read.
    """
    small, text = open_rgb(image), BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(text, "JPEG", quality=QUALITY, optimize=True, comment=b"")  # not the file's own
    coded = base64.b64encode(text.getvalue()).decode()
    return Thumbnail(f"data:image/jpeg;base64,{coded}", small.size)

"""Section: single samples, what was asked, and what methods answered after each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from stages.core.report.page import Answers, Block, Card, Cell, Fold, Section, Table
from stages.core.report.svg import shortened
from stages.core.runs.examples import Example, Examples
from stages.core.runs.results import Results
from stages.core.runs.samples import WHERE, Sample, kinds_of

QUESTION, ANSWER = 600, 240  # characters shown


def _counts(found: Examples, results: Results) -> Table:
    """How many samples of every task and kind."""
    columns = [(run, kind) for run in found.runs for kind in kinds_of(run)]
    rows = [
        [results.task(task), *(str(counts[run.name][kind]) for run, kind in columns)]
        for task, counts in found.counts.items()
    ]
    return Table(
        ["Task", *(f"{results.label(run.name)}\n{kind}" for run, kind in columns)],
        rows,
        "Test samples of each task. "
        + " ".join(f"{kind.capitalize()}: {means}." for kind, (means, _) in WHERE.items()),
        name="kinds",
    )


def spans(sample: Sample) -> list[list[int]]:
    """Steps in order, those together that follow each other with the same answer and experts."""
    steps = sorted(sample.steps.items())
    return [[step for step, _ in found] for _, found in groupby(steps, key=lambda item: item[1])]


def _answers(sample: Sample, title: str, kinds: Sequence[str], task: Callable) -> Answers:
    rows: list[list[Cell | str]] = []
    for steps in spans(sample):
        said = sample.steps[steps[0]]
        score = f"{said.score:.0f}" + ("" if said.parsed else ", unread")
        rows.append(
            [
                str(steps[0]) if len(steps) == 1 else f"{steps[0]}–{steps[-1]}",
                Cell(shortened(said.text, ANSWER), said.text if len(said.text) > ANSWER else ""),
                " + ".join(map(task, said.experts)) or "backbone",
                score,
            ]
        )
    table = Table(["After step", "Answer", "By", "Score"], rows, "", prose=True)
    return Answers(title, ", ".join(kinds) or "none of the kinds", table)


def _cards(examples: list[Example], results: Results) -> list[Block]:
    """A card per image, with all samples that ask about it."""
    grouped: dict[str, list[Example]] = {}
    for one in examples:
        grouped.setdefault(one.image.uri if one.image and one.image.uri else one.sample_id, [])
        grouped[one.image.uri if one.image and one.image.uri else one.sample_id].append(one)
    return [
        Card(
            found[0].image,
            [
                (
                    one.sample_id,
                    shortened(one.question, QUESTION),
                    " | ".join(one.references),
                    [
                        _answers(sample, results.label(run), one.kinds[run], results.task)
                        for run, sample in one.samples.items()
                    ],
                )
                for one in found
            ],
        )
        for found in grouped.values()
    ]


def section(results: Results) -> Section:
    """Counts of what became of samples, then samples by task on demand."""
    title, found = "Examples", results.examples
    if found is None or not found.runs:
        return Section("examples", title, "Absent: no predictions among the inputs.")
    names = " and ".join(results.label(run.name) for run in found.runs)
    seeds = sorted({run.seed for run in found.runs})
    lead = (
        f"What {names} answered to single test samples (seed {', '.join(map(str, seeds))}), step "
        "by step. The command cmit examples lists all samples of a kind."
    )
    folds = [
        Fold(f"{results.task(task)}: {len(examples)} samples", _cards(examples, results))
        for task, examples in found.by_task.items()
    ]
    return Section("examples", title, lead, [_counts(found, results), *folds])

"""Section: loss and gradient norm of every expert while it was trained, methods overlaid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import fmean

from stages.core.report.page import Block, Fold, Picture, Section, Table
from stages.core.report.ranking import ranked
from stages.core.report.result import kinds_of
from stages.core.report.svg import WIDTH, Canvas, Scale, around, shortened, width_of
from stages.core.runs.results import Results

POINTS = 50  # of a drawn curve at most
TITLES = {"loss": "Loss", "gradient_norm": "Gradient norm"}
Curves = dict[str, dict[str, list[tuple[float, float]]]]  # by task and method, (step, value)


def curves(results: Results, key: str) -> Curves:
    """The curves of the experts that were trained, means over seeds, tasks in stream order."""
    values: dict[str, dict[str, dict[float, list[float]]]] = {task: {} for task in results.tasks}
    for scope, by_task in results.trainings.items():
        for task, training in by_task.items():
            found = values[task].setdefault(scope.variant, defaultdict(list))
            for step, value in training.get(key, []):
                found[step].append(value)
    return {
        task: {
            method: [(step, fmean(found)) for step, found in sorted(steps.items())]
            for method, steps in by_method.items()
            if steps
        }
        for task, by_method in values.items()
    }


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most ``POINTS`` points: means of as many neighbours as it takes."""
    size = -(-len(curve) // POINTS)
    parts = [curve[k : k + size] for k in range(0, len(curve), size)]
    return [(part[-1][0], fmean(value for _, value in part)) for part in parts]


def _panel(
    canvas: Canvas,
    lines: Mapping[str, list[tuple[float, float]]],
    kinds: Mapping[str, str],
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    (left, top), (w, h) = corner, size
    values = [value for line in lines.values() for _, value in line]
    positive = min(values) > 0
    limits = (
        (max(min(values), max(values) / 1e4), max(values) * 1.05) if positive else around(values)
    )
    y = Scale(*limits, top + h, top, log=positive)
    x = Scale(0, max(step for line in lines.values() for step, _ in line), left, left + w)
    for tick in y.ticks(3):
        canvas.line([(left, y(tick)), (left + w, y(tick))], "grid")
        canvas.text(left - 5, y(tick), f"{tick:g}", "small", "end")
    for step in x.ticks(3):
        canvas.text(x(step), top + h + 10, f"{step:g}", "small", "middle")
    for name in sorted(lines, key=lambda name: kinds[name] != "pale"):  # pale ones below
        weight = " thick" if kinds[name] == "accent" else ""
        canvas.line([(x(step), y(v)) for step, v in lines[name]], kinds[name] + weight, name)


def draw(
    found: Curves,
    kinds: Mapping[str, str],
    task_label: Callable[[str], str] = str,
    label: Callable[[str], str] = str,
) -> Canvas:
    """One panel a task; the vertical axis is logarithmic where all values are above 0."""
    shown = {task: lines for task, lines in found.items() if lines}
    columns = min(len(shown), 4)
    across, w, h, down = WIDTH / 4, WIDTH / 4 - 52, 110, 158
    names = dict.fromkeys(name for lines in shown.values() for name in lines)
    canvas = Canvas(max(columns * across, 500), -(-len(shown) // columns) * down + 26)
    x = 40.0
    for name in names:
        if kinds[name] != "pale":
            canvas.line([(x, 8), (x + 16, 8)], f"{kinds[name]} thick")
            canvas.text(x + 21, 8, label(name), "small")
            x += 36 + width_of(label(name), 11)
    for k, (task, lines) in enumerate(shown.items()):
        corner = (40 + k % columns * across, 50 + k // columns * down)
        canvas.text(corner[0], corner[1] - 14, shortened(task_label(task), 28), "bold", tip=task)
        thin = {name: thinned(line) for name, line in lines.items()}
        _panel(canvas, thin, kinds, corner, (w, h))
    return canvas


def _ends(found: Curves, results: Results) -> Table:
    """Mean loss over the last tenth of every training."""
    methods = dict.fromkeys(name for lines in found.values() for name in lines)
    rows = []
    for name in methods:
        lines = [found[task].get(name, []) for task in results.tasks]
        ends = [line[-max(1, len(line) // 10) :] for line in lines]
        shown = [f"{fmean(value for _, value in end):.3f}" if end else "–" for end in ends]
        rows.append([results.label(name), *shown])
    return Table(
        ["Trained as", *map(results.task, results.tasks)],
        rows,
        "Mean loss over the last tenth of the logged steps, mean over seeds.",
        name="final-losses",
    )


def section(results: Results) -> Section:
    """A picture of the losses and one of the gradient norms."""
    title, key = "Training", "training"
    found = {name: curves(results, name) for name in TITLES}
    if not any(found["loss"].values()):
        return Section(key, title, "Absent: no trained experts among the inputs.")
    content = results.comparison
    order = ranked(content["methods"])
    kinds = kinds_of(order, content["reference"], list(results.config.get("variants", {})))
    trained = {name for by_task in found["loss"].values() for name in by_task}
    kinds = {name: kinds.get(name, "pale") for name in trained}
    over = ", means over seeds" if len(results.seeds) > 1 else ""
    caption = f"By optimiser step{over}. Runs that share their experts with a method have no line."
    pictures: list[Block] = [
        Picture(
            draw(found[name], kinds, results.task, results.label),
            caption,
            f"{words} of every method while training, by task",
            words,
            f"training_{name}",
        )
        for name, words in TITLES.items()
        if any(found[name].values())
    ]
    lead = "What each task's training did; the colours are those of the first pictures."
    ends = Fold("Losses at the end", [_ends(found["loss"], results)])
    return Section(key, title, lead, [*pictures, ends])

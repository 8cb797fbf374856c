"""Sections: losses of the routers with thresholds per task, and test ratios seen against unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from stages.core.evaluation.routing_quality import Routed
from stages.core.report.page import Block, Picture, Section, Table, folded
from stages.core.report.svg import Canvas, Scale, legend, shortened, width_of, x_axis
from stages.core.runs.results import Results

# Shares of the data at the named quantiles of router artefacts.
QUANTILES = {"min": 0.0, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
LINE, HIGH = 40, 12  # pixels of a task, and of a box
BOXES = "Box: middle half of the rows, bar: median, line: 5% to 95%, dots: smallest and largest. "


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Quantiles of a sample under the names of router artefacts."""
    return {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}


def ratios(run: dict[str, Routed], tasks: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Per task its samples' lowest loss-to-threshold ratios while ``unseen`` and once ``seen``.

    A task is unseen at steps 1..i-1 and seen at steps i..N, i its place in the stream.
    """
    found = {}
    for number, task in enumerate(tasks, 1):
        if task in run:
            step, ratio = run[task].step, run[task].ratio
            known = np.isfinite(ratio)
            found[task] = {
                "seen": ratio[known & (step >= number)],
                "unseen": ratio[known & (step > 0) & (step < number)],
            }
    return found


def _boxes(
    rows: Mapping[str, Sequence[tuple[dict[str, float], str]]],
    bars: Mapping[str, float],
    label: str,
    entries: Sequence[tuple[str, str]],
) -> Canvas:
    """Boxes from quantiles on a logarithmic axis, below each other for each name, and a bar."""
    values = [v for boxes in rows.values() for q, _ in boxes for v in q.values() if v > 0]
    values += [bar for bar in bars.values() if bar > 0] or [1.0]
    left, bottom = 10 + max(width_of(shortened(name)) for name in rows), 26 + LINE * len(rows)
    canvas = Canvas(left + 760, bottom + 40)
    scale = Scale(min(values) / 1.2, max(values) * 1.2, left, left + 750, log=True)
    x_axis(canvas, scale, 22, bottom, label, 9)
    legend(canvas, left, 9, entries)
    two = any(len(boxes) > 1 for boxes in rows.values())
    for i, (name, boxes) in enumerate(rows.items()):
        top = 30 + LINE * i
        first = top + 3 + (0 if two else (HIGH + 3) / 2)
        canvas.text(left - 8, top + 17, shortened(name), "", "end", name)
        for k, (q, kind) in enumerate(boxes):
            _box(canvas, scale, q, first + (HIGH + 3) * k, kind)
        if name in bars:
            canvas.rect(scale(bars[name]) - 1.25, top, 2.5, LINE - 6, "accent")
    return canvas


def _box(canvas: Canvas, scale: Scale, q: dict[str, float], top: float, kind: str) -> None:
    """p25..p75 with a bar at the median, whiskers p05..p95, dots at the extremes."""
    place = {name: scale(value) for name, value in q.items()}
    middle = top + HIGH / 2
    canvas.line([(place["p05"], middle), (place["p95"], middle)], kind)
    canvas.rect(place["p25"], top, place["p75"] - place["p25"], HIGH, f"{kind} half")
    canvas.line([(place["p50"], top), (place["p50"], top + HIGH)], "")
    for end in ("min", "max"):
        canvas.dot(place[end], middle, kind, radius=1.5)


def draw_losses(routers: dict[str, dict], label: Callable[[str], str] = str) -> Canvas:
    """Boxes of in-fold and out-of-fold losses per task and a bar at the threshold."""
    kinds = {"in_fold": "grey", "out_of_fold": "blue"}
    rows = {
        label(task): [(router["losses"][name], kind) for name, kind in kinds.items()
                      if router["losses"][name]]
        for task, router in routers.items()
    }  # fmt: skip
    bars = {label(task): router["threshold"] for task, router in routers.items()}
    shown = {kind for boxes in rows.values() for _, kind in boxes}
    words = {
        "grey": "rows the router was fitted on",
        "blue": "rows it has not seen (out of fold)",
    }
    entries = [(kind, text) for kind, text in words.items() if kind in shown]
    title = "loss (reconstruction error, or distance to the task's rows; log scale)"
    return _boxes(rows, bars, title, [*entries, ("accent", "threshold")])


def draw_ratios(
    found: dict[str, dict[str, np.ndarray]], label: Callable[[str], str] = str
) -> Canvas:
    """Boxes of the lowest ratio per task, seen above unseen, and the line at 1."""
    kinds = {"seen": "blue", "unseen": "orange"}
    rows = {
        label(task): [(quantiles(parts[name]), kind) for name, kind in kinds.items()
                      if parts[name].size]
        for task, parts in found.items()
    }  # fmt: skip
    return _boxes(
        rows,
        dict.fromkeys(rows, 1.0),
        "lowest loss / threshold over the tasks trained so far (log scale)",
        [("blue", "task seen"), ("orange", "task not trained yet"), ("accent", "1: the threshold")],
    )


def _pooled(runs: Sequence[dict[str, dict[str, np.ndarray]]]) -> dict[str, dict[str, np.ndarray]]:
    """The ratios of several seeds together."""
    return {
        task: {
            part: np.concatenate([run[task][part] for run in runs if task in run])
            for part in ("seen", "unseen")
        }
        for task in dict.fromkeys(task for run in runs for task in run)
    }


def _median(losses: dict[str, float] | None) -> str:
    return f"{losses['p50']:.3g}" if losses else "–"


def _threshold_table(routers: dict[str, dict], scope: str, label: Callable[[str], str]) -> Table:
    columns = {
        "Median in fold": [_median(router["losses"]["in_fold"]) for router in routers.values()],
        "Median out of fold": [
            _median(router["losses"]["out_of_fold"]) for router in routers.values()
        ],
        "Quantile": [
            f"{router['calibration']['quantile_value']:.3g}" for router in routers.values()
        ],
        "Threshold": [f"{router['threshold']:.3g}" for router in routers.values()],
    }
    shown = {head: cells for head, cells in columns.items() if set(cells) != {"–"}}
    rows = [
        [label(task), str(router["n"]), *cells]
        for (task, router), *cells in zip(routers.items(), *shown.values(), strict=True)
    ]
    rule = next(iter(routers.values()))["calibration"]
    return Table(
        ["Task", "Rows", *shown],
        rows,
        f"Thresholds ({scope}): {rule['factor']:g} times the {100 * rule['quantile']:g}% quantile "
        f"of the {'out-of-fold' if rule['method'] == 'cross_fit' else 'training'} losses, unless "
        "edited by hand in the router's JSON.",
        name=f"thresholds:{scope}",
    )


def section(results: Results) -> Section:
    """Losses of the routers' own rows with thresholds, then ratios of the test samples."""
    title = "Losses and thresholds of routers"
    if not results.routers and not results.routes:
        return Section("losses", title, "Absent: no routers among the inputs.")
    fitted = _fitted(results)
    blocks = folded(fitted, "Other seeds and variants")
    if results.routers:
        scope, routers = next(iter(results.routers.items()))
        blocks.append(_threshold_table(routers, str(scope), results.task))
    blocks += folded(_tested(results), "Test samples of the other methods")
    lead = "A router accepts a sample whose loss is at or under the threshold."
    return Section("losses", title, lead, blocks)


def _fitted(results: Results) -> list[Block]:
    """The losses that the thresholds rest on, a picture per scope."""
    found: list[Block] = []
    for scope, routers in results.routers.items():
        alone = all(router["losses"]["out_of_fold"] is None for router in routers.values())
        caption = BOXES + (
            "The thresholds rest on fitted rows, whose losses are lower than those of new samples."
            if alone
            else "A threshold is well placed when it lies right of the blue box and line."
        )
        if not alone and any(router["losses"]["in_fold"] for router in routers.values()):
            caption += " The gap between grey and blue is why it is not set on the fitted rows."
        alt = f"Losses and thresholds of routers per task, {scope}"
        canvas, name = draw_losses(routers, results.task), "" if found else "thresholds"
        found.append(Picture(canvas, caption, alt, f"Subset rows, {scope}", name))
    return found


def _tested(results: Results) -> list[Block]:
    """How far test samples are from the threshold, a picture per method, its seeds together."""
    found: list[Block] = []
    for method in dict.fromkeys(method for method, _ in results.routes):
        order = results.order(method)
        runs = [ratios(run, order) for (name, _), run in results.routes.items() if name == method]
        caption = (
            "Test samples of each task over all steps, boxes as above. Left of the threshold an "
            "expert answers, right of it the backbone does. Blue belongs left, orange right."
        )
        alt = f"Lowest loss-to-threshold ratio of seen and unseen tasks, {method}"
        canvas = draw_ratios(_pooled(runs), results.task)
        title, name = f"Test samples, {results.label(method)}", "" if found else "ratios"
        found.append(Picture(canvas, "" if found else caption, alt, title, name))
    return found

"""Section: the result in a sentence and two pictures, for the first screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.report.page import Note, Picture, Row, Section
from stages.core.report.ranking import marks, ranked
from stages.core.report.svg import (
    Canvas,
    Scale,
    around,
    shortened,
    spread,
    width_of,
    x_axis,
    y_axis,
)
from stages.core.runs.results import Results
from stages.methods.registry import BOUNDS

KINDS = ("blue", "green", "orange", "pink", "brown")
Entry = dict[str, Any]  # of a method in comparison.json
LEFT, RIGHT = 230, 90  # pixels of the two panels of the dot plot


def label_of(entry: Entry) -> str:
    """How people call the method."""
    return str(entry.get("label", entry["name"]))


def half_of(entry: Entry) -> float | None:
    """Half of the interval of ``last``: over seeds, or over test samples where there is one."""
    half: float | None = entry["metrics"]["last"]["half_width"]
    return entry["last_over_samples"] if half is None else half


def kinds_of(methods: Sequence[Entry], reference: str, variants: Sequence[str]) -> dict[str, str]:
    """A colour for the reference and for the best of the others, methods before variants; grey for
    bounds; pale for the rest."""
    found = {e["name"]: "grey dashed" if e["name"] in BOUNDS else "pale" for e in methods}
    others = [e["name"] for e in methods if found[e["name"]] == "pale" and e["name"] != reference]
    others.sort(key=lambda name: name in variants)
    found |= dict(zip(others, KINDS, strict=False))
    return {name: "accent" if name == reference else kind for name, kind in found.items()}


# --- the sentence --------------------------------------------------------------------------------


def sentence(content: dict[str, Any]) -> str:
    """Who ends highest, who cannot be told from it, where the reference and the bounds are."""
    methods = [e for e in ranked(content["methods"]) if e["metrics"]["last"]["mean"] is not None]
    rivals = [entry for entry in methods if entry["name"] not in BOUNDS]
    if not rivals:
        return "No continual learner was scored after the last task."
    best, many = rivals[0], len(content["seeds"]) > 1
    over = f"{len(content['seeds'])} seeds" if many else "test samples"
    parts = [
        f"{label_of(best)} ends highest: {_score(best)} on average over the "
        f"{len(content['tasks'])} tasks after the last one (95% interval over {over})"
        f"{_forgets(best)}."
    ]
    found = marks(
        {e["name"]: {"mean": e["metrics"]["last"]["mean"], "half_width": half_of(e)}
         for e in rivals}
    )  # fmt: skip
    near = [label_of(entry) for entry in rivals if found.get(entry["name"]) == "near"]
    if near:
        more = f" and {len(near) - 3} more" if len(near) > 3 else ""
        parts.append(f"Within its interval: {', '.join(near[:3])}{more}.")
    behind = [e for e in rivals[1:] if e["name"] == content["reference"]]
    parts += [
        f"{label_of(e)} is number {rivals.index(e) + 1} of {len(rivals)} with {_score(e)}."
        for e in behind
    ]
    bounds = {"zero_shot": "the untouched backbone", "joint": "training on all tasks at once"}
    words = [f"{bounds[e['name']]} {_score(e)}" for e in methods if e["name"] in bounds]
    return " ".join([*parts, *([f"For comparison: {', '.join(words)}."] if words else [])])


def _score(entry: Entry) -> str:
    half = half_of(entry)
    return f"{entry['metrics']['last']['mean']:.1f}" + ("" if half is None else f" ± {half:.1f}")


def _forgets(entry: Entry) -> str:
    forgetting = entry["metrics"]["forgetting"]["mean"]
    return "" if forgetting is None else f", forgetting {forgetting:.1f}"


# --- the pictures --------------------------------------------------------------------------------


def draw_last(methods: Sequence[Entry], kinds: Mapping[str, str]) -> Canvas:
    """Dots of ``last`` with intervals, highest first, and of forgetting beside them."""
    line = 18 if len(methods) > 12 else 24
    left = 12 + max(width_of(shortened(label_of(entry))) for entry in methods)
    bottom = 34 + line * len(methods)
    canvas = Canvas(left + LEFT + 30 + RIGHT + 14, bottom + 22)
    ends = [
        entry["metrics"]["last"]["mean"] + sign * (half_of(entry) or 0)
        for entry in methods
        for sign in (-1, 1)
    ]
    scale = Scale(*around([*ends, 0.0], 0.02), left, left + LEFT)
    lost = [e["metrics"]["forgetting"]["mean"] for e in methods]
    start = left + LEFT + 30
    other = Scale(*around([*filter(None, lost), 0.0], 0.04), start, start + RIGHT)
    for axis, title, count in ((scale, "score after the last task", 5), (other, "forgetting", 3)):
        canvas.text(axis.start, 12, title, "bold")
        x_axis(canvas, axis, 24, bottom, count=count)
    for i, entry in enumerate(methods):
        y, kind = 34 + line * (i + 0.5) - 5, kinds[entry["name"]].replace("pale", "soft")
        last, half = entry["metrics"]["last"]["mean"], half_of(entry)
        strong = "bold" if kind == "accent" else ""
        canvas.text(left - 10, y, shortened(label_of(entry)), strong, "end", entry["name"])
        if half:
            canvas.line([(scale(last - half), y), (scale(last + half), y)], kind.split()[0])
        canvas.dot(scale(last), y, kind, f"{label_of(entry)}: {_score(entry)}")
        if (gone := lost[i]) is not None:
            canvas.line([(other(0), y), (other(gone), y)], kind.split()[0])
            canvas.dot(other(gone), y, kind, f"{label_of(entry)}: {gone:.1f}", 3)
    return canvas


def draw_curves(methods: Sequence[Entry], kinds: Mapping[str, str], height: float) -> Canvas:
    """Average score over the tasks learnt so far, step by step; names at the ends of lines."""
    curves = {e["name"]: [point["mean"] for point in e["curve"]] for e in methods}
    steps = max(map(len, curves.values()))
    names = {e["name"]: shortened(label_of(e)) for e in methods}
    shown = [name for name in names if kinds[name] != "pale"]
    room = 14 + max(width_of(names[name]) for name in shown)
    canvas = Canvas(34 + 260 + room, height)
    x, bottom = Scale(1, max(steps, 2), 34, 294), height - 22
    values = [value for curve in curves.values() for value in curve if value is not None]
    y = Scale(*around([*values, 0.0], 0.04), bottom, 34)
    canvas.text(34, 12, "average over the tasks so far", "bold")
    y_axis(canvas, y, 34, 294)
    for step in range(1, steps + 1):
        canvas.text(x(step), bottom + 11, str(step), "small", "middle")
    ends: dict[str, float] = {}
    for name in sorted(curves, key=lambda name: kinds[name] != "pale"):  # pale ones below
        points = [(x(t), y(v)) for t, v in enumerate(curves[name], 1) if v is not None]
        if points:
            weight = "thick" if kinds[name] == "accent" else ""
            canvas.line(points, f"{kinds[name]} {weight}".strip(), names[name])
            ends |= {name: points[-1][1]} if name in shown else {}
    for name, place in spread(ends, (34, bottom), 14):
        canvas.line([(x(steps) + 2, ends[name]), (x(steps) + 10, place)], f"{kinds[name]} thin")
        canvas.text(x(steps) + 13, place, names[name], "bold" if kinds[name] == "accent" else "")
    return canvas


def section(results: Results) -> Section:
    """The sentence and the pictures; nothing to draw where no method reached the end."""
    content = results.comparison
    ordered = ranked(content["methods"])
    ended = [entry for entry in ordered if entry["metrics"]["last"]["mean"] is not None]
    kinds = kinds_of(ordered, content["reference"], list(results.config.get("variants", {})))
    many = len(content["seeds"]) > 1
    pictures = []
    if ended:
        dots = draw_last(ended, kinds)
        pictures.append(
            Picture(
                dots,
                "Lines: 95% intervals over "
                + ("seeds" if many else "test samples, with one seed")
                + ". Forgetting: how far scores fell from their best. Grey: no continual learners.",
                "Score after the last task and forgetting of every method",
                name="result",
            )
        )
        drawn = [entry for entry in ended if any(p["mean"] is not None for p in entry["curve"])]
        if drawn and len(content["tasks"]) > 1:
            pictures.append(
                Picture(
                    draw_curves(drawn, kinds, max(dots.height, 260)),
                    "After each step (from left to right), mean over the tasks learnt by then"
                    + (" and over seeds." if many else "."),
                    "Average score over the tasks learnt so far, by step",
                    name="curves",
                )
            )
    blocks = [Row(pictures)] if pictures else [Note("Nothing was scored after the last task.")]
    return Section("result", "Result", sentence(content), blocks)

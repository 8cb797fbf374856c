"""Section: all methods side by side, what they cost, paired differences, published numbers."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from stages.core.costs.comparison import KEYS, PUBLISHED
from stages.core.costs.measured import TOLERANCE
from stages.core.report.differences import by_sample, differences, name_cell, reference_label
from stages.core.report.page import (
    Block,
    Cell,
    Definitions,
    Fold,
    Picture,
    Section,
    Table,
)
from stages.core.report.ranking import marks, ranked
from stages.core.report.runtimes import time_cell
from stages.core.report.style import level_of
from stages.core.report.svg import Canvas, Scale, around, spread, width_of, x_axis, y_axis
from stages.core.runs.results import Results
from stages.methods.registry import BOUNDS

LEARNT = "mft"  # scores right after learning; all that the paper's Finetune has
SHOWN = (*KEYS, LEARNT)
Content = dict[str, Any]  # of comparison.json

# --- tables --------------------------------------------------------------------------------------


def _metric(found: dict[str, float | None] | None, mark: str = "") -> Cell:
    if found is None or found["mean"] is None:
        return Cell("–")
    half = "" if found["half_width"] is None else f" ± {found['half_width']:.2f}"
    return Cell(f"{found['mean']:.2f}{half}", marks=mark)


def _scores(content: Content) -> Table:
    methods = content["methods"]
    shown = any(entry["published"][key] for entry in methods for key in KEYS)
    mixed = any(entry["last_without_captions"] for entry in methods)
    apart = ["last, no captions"] if mixed else []
    found = {key: marks({e["name"]: e["metrics"][key] for e in methods}) for key in SHOWN}
    rows: list[list[Cell | str]] = [
        [name_cell(entry)]
        + [_metric(entry["metrics"][key], found[key].get(entry["name"], "")) for key in SHOWN]
        + [_metric(entry["last_without_captions"]) for _ in apart]
        + [entry["published"][key] or "" for key in KEYS if shown]
        for entry in ranked(methods)
    ]
    many = len(content["seeds"]) > 1
    beside = (
        " Published numbers, of this stream and kind of backbone: "
        + " ".join(content.get("published_from", []))
        + " The one beside individual (Finetune) corresponds to mft. Other rows, prompts, training "
        "or decoding can move values by more than the methods differ."
        if shown
        else ""
    )
    return Table(
        ["Method", *SHOWN, *apart, *(f"published: {PUBLISHED[key]}" for key in KEYS if shown)],
        rows,
        ("Means over seeds ± half the 95% interval (Student's t). " if many else "One seed. ")
        + "By last. Bold: the best continual learner of a column"
        + ("; underlined: those within its interval" if many else "")
        + ". A dash: the method has no such cells of the matrix."
        + (" Without captions, since CIDEr swings more than the other scores." if mixed else "")
        + beside,
        title="Scores",
        name="comparison",
    )


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _time(seconds: float | None) -> Cell:
    return Cell("–") if seconds is None else time_cell(seconds) if seconds else Cell("0")


def _costs(content: Content) -> Table:
    rows: list[list[Cell | str]] = []
    for entry in ranked(content["methods"]):
        cost = entry["costs"]
        rows.append(
            [
                name_cell(entry, " *" if entry["remark"] else ""),
                _amount(cost["per_task"]),
                _amount(cost["in_all"]),
                _amount(cost["stored"]),
                _time(cost["training"]),
                _time(cost["preparation"]),
                {True: "yes", False: "no", None: "–"}[cost["knows_task"]],
                cost["earlier_data"] or "–",
            ]
        )
    head = ["Method", "Trained a task", "Trained in all", "Stored at the end", "Training"]
    return Table(
        [*head, "Preparation", "Knows the task at test", "Keeps earlier data"],
        rows,
        "Trained: parameters that learn at the tasks, D-MoLE's routers apart. Stored: parameters "
        "that must be kept after the last task to answer and to go on, routers included. Times: "
        "all tasks of a seed, mean over seeds; preparation is gradient profiles, features and "
        "routers, which methods share. "
        "* more than 5% off in trained parameters, see below.",
        title="Costs",
        name="costs",
    )


def _remarks(content: Content) -> list[Block]:
    """Why methods are not of the reference's size; those with one reason stand together."""
    sizes = {entry["name"]: entry["costs"]["per_task"] for entry in content["methods"]}
    reasons: dict[str, list[str]] = {}
    for entry in content["methods"]:
        if entry["remark"]:
            gap = 100 * (sizes[entry["name"]] / sizes[content["reference"]] - 1)
            reason = entry["remark"].partition(". ")[2]
            reasons.setdefault(reason, []).append(f"{name_cell(entry).text} {gap:+.0f} %")
    noted = [(", ".join(names), reason, "") for reason, names in reasons.items()]
    return [Definitions(noted)] if noted else []


def _by_task(content: Content) -> Table:
    tasks, labels = content["tasks"], content.get("labels", {})
    means = {
        entry["name"]: {task: fmean(v) if v else None for task, v in entry["final_scores"].items()}
        for entry in content["methods"]
    }
    best = {
        task: marks({n: {"mean": by[task], "half_width": None} for n, by in means.items()})
        for task in tasks
    }
    rows: list[list[Cell | str]] = []
    for entry in ranked(content["methods"]):
        row: list[Cell | str] = [name_cell(entry)]
        for task in tasks:
            value = means[entry["name"]][task]
            if value is None:
                row.append("–")
            else:
                mark = f"b{level_of(value / 100)} {best[task].get(entry['name'], '')}".strip()
                row.append(Cell(f"{value:.1f}", marks=mark))
        rows.append(row)
    return Table(
        ["Method", *(labels.get(task, task) for task in tasks)],
        rows,
        "Means over seeds, after the last step at which the method was measured on the task "
        "(individual: right after learning it). Bold: the best continual learner of a task.",
        title="Scores by task at the end",
        name="finals",
    )


# --- the section ---------------------------------------------------------------------------------


def kind_of(name: str, reference: str) -> str:
    """Orange for the reference, grey for bounds, blue for the rest."""
    return "accent" if name == reference else "grey" if name in BOUNDS else "blue"


def draw_size(points: dict[str, tuple[str, float, float]], reference: str) -> Canvas:
    """Backward transfer against trainable parameters; labels in a column on the right.

    Args:
        points: by name: label, parameters, backward transfer.
    """
    height = max(300, 15 * len(points) + 70)
    words = {name: f"{label}  {value:+.2f}" for name, (label, _, value) in points.items()}
    canvas = Canvas(60 + 520 + 70 + max(map(width_of, words.values())), height)
    sizes = [size for _, size, _ in points.values()]
    x = Scale(*around(sizes, 0.06), 60, 580)
    values = [value for *_, value in points.values()]
    y = Scale(*around([*values, 0.0], 0.06), height - 44, 20)
    if reference in points:
        near = [x(points[reference][1] * share) for share in (1 - TOLERANCE, 1 + TOLERANCE)]
        canvas.rect(near[0], 20, near[1] - near[0], height - 64, "band")
    y_axis(canvas, y, 60, 580, "bwt_dmole")
    x_axis(canvas, x, 20, height - 44, "trainable parameters a task")
    places = {name: y(value) for name, (*_, value) in points.items()}
    for name, place in spread(places, (16, height - 16), 15):
        _, size, value = points[name]
        canvas.line([(x(size), y(value)), (590, y(value)), (640, place)], "pale thin")
        canvas.dot(x(size), y(value), kind_of(name, reference), words[name])
        canvas.text(645, place, words[name], "bold" if name == reference else "")
    return canvas


def _pictures(content: Content) -> list[Block]:
    reference = content["reference"]
    points = {
        entry["name"]: (
            name_cell(entry).text,
            entry["costs"]["per_task"],
            entry["metrics"]["bwt_dmole"]["mean"],
        )
        for entry in content["methods"]
        if entry["metrics"]["bwt_dmole"]["mean"] is not None and entry["costs"]["per_task"]
    }
    if len(points) < 2:
        return []
    caption = (
        "Backward transfer (bwt_dmole; 0: nothing is forgotten) against the parameters that learn "
        f"at a task, means over seeds. Methods in the grey band are within 5% of "
        f"{reference_label(content)}."
    )
    alt = "Backward transfer against trainable parameters"
    canvas = draw_size(points, reference)
    return [Picture(canvas, caption, alt, "Forgetting and size", "forgetting_and_size")]


def tables(content: Content) -> Section:
    """Scores and costs of every method, and differences from the reference, without pictures."""
    title, methods = "Comparison", content["methods"]
    if len(methods) < 2:
        return Section("comparison", title, "Absent: a single method.")
    blocks: list[Block] = [_scores(content), _by_task(content), _costs(content)]
    blocks += _remarks(content)
    if any(entry["differences"] for entry in methods):
        blocks.append(differences(content))
    if any(entry["by_sample"] for entry in methods):
        blocks.append(by_sample(content))
    seeds = len(content["seeds"])
    lead = f"{len(methods)} methods on {len(content['tasks'])} tasks, " + (
        f"{seeds} seeds." if seeds > 1 else "one seed: small differences mean little."
    )
    return Section("comparison", title, lead, blocks)


def section(results: Results) -> Section:
    """Scores at once, the rest on demand."""
    found = tables(results.comparison)
    if not found.blocks:
        return found
    shown, rest = found.blocks[:2], [*found.blocks[2:], *_pictures(results.comparison)]
    more = Fold("Costs, paired differences, forgetting and size", rest)
    return Section(found.key, found.title, found.lead, [*shown, more])

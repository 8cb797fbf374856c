"""Section: all methods side by side, what they cost, paired differences, published numbers."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from stages.core.costs.comparison import KEYS, PUBLISHED
from stages.core.report.comparison_plots import draw_forgetting, draw_tasks
from stages.core.report.page import Block, Cell, Definitions, Picture, Section, Table
from stages.core.report.runtimes import readable
from stages.core.runs.results import Results

LEARNT = "mft"  # scores right after learning; all that the paper's Finetune has
Content = dict[str, Any]  # of comparison.json

# --- tables --------------------------------------------------------------------------------------


def _metric(entry: dict[str, Any], key: str) -> str:
    mean, half = entry["metrics"][key]["mean"], entry["metrics"][key]["half_width"]
    if mean is None:
        return "–"
    return f"{mean:.2f}" + ("" if half is None else f" ± {half:.2f}")


def _scores(content: Content) -> Table:
    shown = any(entry["published"][key] for entry in content["methods"] for key in KEYS)
    rows: list[list[Cell | str]] = [
        [entry["name"]]
        + [_metric(entry, key) for key in (*KEYS, LEARNT)]
        + [entry["published"][key] or "" for key in KEYS if shown]
        for entry in content["methods"]
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
        ["Method", *KEYS, LEARNT, *(f"published: {PUBLISHED[key]}" for key in KEYS if shown)],
        rows,
        ("Means over seeds ± half the 95% interval (Student's t)." if many else "One seed.")
        + " A dash: the method has no such cells of the matrix."
        + beside,
        title="Scores",
        name="comparison",
    )


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else readable(seconds) if seconds else "0"


def _costs(content: Content) -> Table:
    rows: list[list[Cell | str]] = []
    for entry in content["methods"]:
        cost = entry["costs"]
        rows.append(
            [
                entry["name"] + (" *" if entry["remark"] else ""),
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


def _shown(found: dict[str, Any] | None) -> list[Cell | str]:
    if found is None:
        return ["–", ""]
    spread = "" if found["spread"] is None else f" ± {found['spread']:.2f}"
    return [f"{found['mean']:+.2f}{spread}", f"{found['p']:.3f}"]


def _differences(content: Content) -> Table:
    reference = content["reference"]
    rows: list[list[Cell | str]] = []
    for entry in content["methods"]:
        if entry["differences"]:
            cells = [_shown(entry["differences"][key]) for key in KEYS]
            rows.append([entry["name"], *(cell for pair in cells for cell in pair)])
    n = len(content["tasks"])
    return Table(
        ["Method", *(text for key in KEYS for text in (f"Δ {key}", "p"))],
        rows,
        f"Each method minus {reference}, paired by seed: mean ± half the 95% interval over seeds. "
        "p: two-sided permutation test (signs of the differences by task, each the mean over "
        f"seeds). With {n} tasks the smallest possible p is {2 / 2**n:.3f} (bwt has one task "
        "less); no correction for the number of methods.",
        title=f"Paired differences from {reference}",
        name="differences",
    )


def _by_task(content: Content) -> Table:
    tasks = content["tasks"]
    rows: list[list[Cell | str]] = [
        [entry["name"], *(f"{fmean(v):.1f}" if v else "–" for v in _finals(entry, tasks))]
        for entry in content["methods"]
    ]
    return Table(
        ["Method", *tasks],
        rows,
        "Means over seeds, after the last step at which the method was measured on the task "
        "(individual: right after learning it).",
        title="Scores by task at the end",
        name="finals",
    )


def _finals(entry: dict[str, Any], tasks: list[str]) -> list[list[float]]:
    return [entry["final_scores"][task] for task in tasks]


# --- the section ---------------------------------------------------------------------------------


def _pictures(content: Content) -> list[Block]:
    reference, tasks = content["reference"], content["tasks"]
    finals = {entry["name"]: entry["final_scores"] for entry in content["methods"]}
    pictures: list[Block] = [
        Picture(
            draw_tasks(finals, tasks, reference),
            "Bars: the means of the table above. "
            + ("Thin lines: lowest to highest seed. " if len(content["seeds"]) > 1 else "")
            + f"Orange: {reference}; grey: zero_shot, individual and joint, which are no continual "
            "learners.",
            "Score of every method on every task at the end of the stream",
            "Scores by task",
        )
    ]
    points = {
        entry["name"]: (entry["costs"]["per_task"], entry["metrics"]["bwt_dmole"]["mean"])
        for entry in content["methods"]
        if entry["metrics"]["bwt_dmole"]["mean"] is not None and entry["costs"]["per_task"]
    }
    if len(points) > 1:
        pictures.append(
            Picture(
                draw_forgetting(points, reference),
                "Backward transfer (bwt_dmole; 0: nothing is forgotten) against the parameters "
                "that learn at a task, means over seeds. Methods in the grey band are within 5% of "
                f"{reference}.",
                "Backward transfer against trainable parameters",
                "Forgetting and size",
            )
        )
    return pictures


def tables(content: Content) -> Section:
    """Scores and costs of every method, and differences from the reference, without pictures."""
    title, methods = "Comparison", content["methods"]
    if len(methods) < 2:
        return Section("comparison", title, "Absent: a single method.")
    blocks: list[Block] = [_scores(content), _costs(content)]
    noted = [(f"{entry['name']} *", entry["remark"], "") for entry in methods if entry["remark"]]
    if noted:
        blocks.append(Definitions(noted))
    if any(entry["differences"] for entry in methods):
        blocks.append(_differences(content))
    blocks.append(_by_task(content))
    seeds = len(content["seeds"])
    lead = f"{len(methods)} methods on {len(content['tasks'])} tasks, " + (
        f"{seeds} seeds." if seeds > 1 else "one seed: small differences mean little."
    )
    return Section("comparison", title, lead, blocks)


def section(results: Results) -> Section:
    """The tables, and pictures of them."""
    found = tables(results.comparison)
    pictures = _pictures(results.comparison) if found.blocks else []
    return Section(found.key, found.title, found.lead, [*found.blocks, *pictures])

"""Section: all methods side by side, what they cost, paired differences, the paper's numbers."""

from __future__ import annotations

from statistics import fmean

from stages.core.evaluation.intervals import half_width
from stages.core.evaluation.paired import Difference, difference
from stages.core.report.comparison_plots import draw_forgetting, draw_tasks
from stages.core.report.costs import MethodCosts, comparable, costs_of, remarks
from stages.core.report.page import Block, Cell, Definitions, Picture, Section, Table
from stages.core.report.results import Results
from stages.core.report.runtimes import readable

KEYS = ("avg", "last", "bwt_dmole")
LEARNT = "mft"  # scores right after learning; all that the paper's Finetune has
PUBLISHED = {"avg": "AVG", "last": "Last", "bwt_dmole": "BWT"}
REFERENCE = "reference"  # rows of the published table with one number, at the stream's end
NAMES = {
    "zero_shot": "Zero-shot",
    "individual": "Finetune",
    "joint": "Joint-learning",
    "seq_ft": "Seq-FT",
    "lwf": "LwF-LoRA",
    "ewc": "EWC-LoRA",
    "dense_mole": "Dense MoLE",
    "sparse_mole": "Sparse MoLE",
    "mola": "MoLA",
    "o_lora": "O-LoRA",
    "dmole": "D-MoLE",
}
"""Our names of the methods in the paper's Table 2."""


def reference_of(results: Results) -> str:
    """What the others are compared with: D-MoLE, or the first method of a run without it."""
    return "dmole" if "dmole" in results.methods else results.methods[0]


# --- tables --------------------------------------------------------------------------------------


def _over_seeds(results: Results, name: str, key: str) -> str:
    entry = next(e for e in results.metrics["summary"] if e["method"] == name)
    mean, std = entry["metrics"][key]["mean"], entry["metrics"][key]["std"]
    if mean is None:
        return "–"
    return f"{mean:.2f}" + ("" if std is None else f" ± {half_width(std, len(entry['seeds'])):.2f}")


def _paper(results: Results, name: str, key: str) -> str:
    """The paper's number for a method; those of its references stand under ``last``, where
    Finetune's is of each task right after learning it."""
    wanted = {PUBLISHED[key]} | ({REFERENCE} if key == "last" else set())
    found = [
        row["Average"]
        for row in results.published
        if row["method"] == NAMES.get(name) and row["metric"] in wanted
    ]
    return found[0] if found else ""


def _scores(results: Results) -> Table:
    rows: list[list[Cell | str]] = [
        [name]
        + [_over_seeds(results, name, key) for key in (*KEYS, LEARNT)]
        + [_paper(results, name, key) for key in KEYS if results.published]
        for name in results.methods
    ]
    many = len(results.seeds) > 1
    beside = (
        " The paper's numbers (Ge et al., ICML 2025, Table 2) are of another backbone and other "
        "tasks: compare the order of the methods, never the values. The one beside individual "
        "(Finetune) corresponds to mft."
        if results.published
        else ""
    )
    return Table(
        [
            "Method",
            *KEYS,
            LEARNT,
            *(f"paper: {PUBLISHED[key]}" for key in KEYS if results.published),
        ],
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


def _costs(costs: dict[str, MethodCosts], noted: dict[str, str]) -> Table:
    rows: list[list[Cell | str]] = [
        [
            name + (" *" if name in noted else ""),
            _amount(cost.per_task),
            _amount(cost.in_all),
            _amount(cost.stored),
            _time(cost.training),
            _time(cost.preparation),
            {True: "yes", False: "no", None: "–"}[cost.knows_task],
            cost.earlier_data or "–",
        ]
        for name, cost in costs.items()
    ]
    head = ["Method", "Trained a task", "Trained in all", "Stored at the end", "Training"]
    return Table(
        [*head, "Preparation", "Knows the task at test", "Keeps earlier data"],
        rows,
        "Trained: parameters that learn at the tasks, D-MoLE's routers apart. Stored: parameters "
        "that must be kept after the last task to answer and to go on, routers included. Times: "
        "all tasks of a seed, mean over seeds; preparation is gradient profiles, features and "
        "routers, which methods share. "
        "* more than 5% off in trained parameters, see below.",
        title="MethodCosts",
        name="costs",
    )


def _shown(found: Difference | None) -> list[Cell | str]:
    if found is None:
        return ["–", ""]
    spread = "" if found.spread is None else f" ± {found.spread:.2f}"
    return [f"{found.mean:+.2f}{spread}", f"{found.p:.3f}"]


def _differences(results: Results, names: list[str], reference: str) -> Table:
    runs = results.metrics["runs"]
    rows: list[list[Cell | str]] = []
    for name in names:
        cells = [_shown(difference(runs, name, reference, key)) for key in KEYS]
        rows.append([name, *(cell for pair in cells for cell in pair)])
    n = len(results.tasks)
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


# --- the section ---------------------------------------------------------------------------------


def final_scores(results: Results, name: str) -> dict[str, list[float]]:
    """Scores by task after the last step at which the method was measured, one per seed."""
    found: dict[str, list[float]] = {}
    for task in results.tasks:
        mine = [r for r in results.scores if (r["method"], r["task"]) == (name, task)]
        last = max((row["step"] for row in mine), default=None)
        found[task] = [row["value"] for row in mine if row["step"] == last]
    return found


def _by_task(finals: dict[str, dict[str, list[float]]], tasks: list[str]) -> Table:
    rows: list[list[Cell | str]] = [
        [name, *(f"{fmean(scores[task]):.1f}" if scores[task] else "–" for task in tasks)]
        for name, scores in finals.items()
    ]
    return Table(
        ["Method", *tasks],
        rows,
        "Means over seeds, after the last step at which the method was measured on the task "
        "(individual: right after learning it).",
        title="Scores by task at the end",
        name="finals",
    )


def _pictures(
    results: Results,
    finals: dict[str, dict[str, list[float]]],
    costs: dict[str, MethodCosts],
    reference: str,
) -> list[Block]:
    pictures: list[Block] = [
        Picture(
            draw_tasks(finals, results.tasks, reference),
            "Bars: the means of the table above. "
            + ("Thin lines: lowest to highest seed. " if len(results.seeds) > 1 else "")
            + f"Orange: {reference}; grey: zero_shot, individual and joint, which are no continual "
            "learners.",
            "Score of every method on every task at the end of the stream",
            "Scores by task",
        )
    ]
    points = {
        name: (costs[name].per_task, entry["mean"])
        for name in results.methods
        if (entry := _summary(results, name)["bwt_dmole"])["mean"] is not None
        and costs[name].per_task
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


def _summary(results: Results, name: str) -> dict[str, dict]:
    return next(e for e in results.metrics["summary"] if e["method"] == name)["metrics"]


def section(results: Results) -> Section:
    """Scores and costs of every method, and differences from the reference."""
    title = "Comparison"
    if len(results.methods) < 2:
        return Section("comparison", title, "Absent: a single method.")
    reference = reference_of(results)
    costs = {name: costs_of(results, name) for name in results.methods}
    noted = remarks(costs, reference)
    fair = comparable(costs, reference)
    others = [name for name in results.methods if name != reference and name in fair]
    finals = {name: final_scores(results, name) for name in results.methods}
    blocks: list[Block] = [_scores(results), _costs(costs, noted)]
    if noted:
        blocks.append(Definitions([(f"{name} *", text, "") for name, text in noted.items()]))
    if others:
        blocks.append(_differences(results, others, reference))
    blocks.append(_by_task(finals, results.tasks))
    blocks += _pictures(results, finals, costs, reference)
    seeds = len(results.seeds)
    lead = f"{len(costs)} methods on {len(results.tasks)} tasks, " + (
        f"{seeds} seeds." if seeds > 1 else "one seed: small differences mean little."
    )
    return Section("comparison", title, lead, blocks)

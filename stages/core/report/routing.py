"""Section: does the routing recognise seen tasks and reject unseen ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.core.report.page import Note, Section, Table
from stages.core.report.results import Results, Routed


@dataclass(frozen=True)
class Quality:
    """Routing at one step, or over several together; shares in 0..1, None without samples."""

    n_seen: int
    own_nearest: float | None  # lowest loss-to-threshold ratio at the own task
    own_first: float | None  # own expert active and first in rank
    seen_rejected: float | None
    n_unseen: int
    unseen_rejected: float | None
    auroc: float | None  # lowest ratio, unseen (positive) against seen


def auroc(unseen: np.ndarray, seen: np.ndarray) -> float | None:
    """Probability that an unseen sample's ratio exceeds a seen one's; ties count one half."""
    if not len(unseen) or not len(seen):
        return None
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.ones(len(unseen)), np.zeros(len(seen))])
    return float(roc_auc_score(labels, np.concatenate([unseen, seen])))


def quality(run: dict[str, Routed], tasks: list[str], steps: list[int]) -> Quality:
    """Routing of one method and seed over the rows of ``steps``.

    A sample of the i-th task is seen at step t when t >= i, else unseen.
    """
    seen: dict[str, list[np.ndarray]] = {"nearest": [], "first": [], "rejected": [], "ratio": []}
    unseen: dict[str, list[np.ndarray]] = {"rejected": [], "ratio": []}
    for number, task in enumerate(tasks, 1):
        if task not in run:
            continue
        routed = run[task]
        here = np.isin(routed.step, steps) & np.isfinite(routed.ratio)
        known = here & (routed.step >= number)
        fields = (routed.own_nearest, routed.own_first, routed.rejected, routed.ratio)
        for key, values in zip(seen, fields, strict=True):
            seen[key].append(values[known])
        unseen["rejected"].append(routed.rejected[here & ~known])
        unseen["ratio"].append(routed.ratio[here & ~known])
    old = {key: np.concatenate(parts) for key, parts in seen.items()}
    new = {key: np.concatenate(parts) for key, parts in unseen.items()}
    return Quality(
        n_seen=len(old["ratio"]),
        own_nearest=_share(old["nearest"]),
        own_first=_share(old["first"]),
        seen_rejected=_share(old["rejected"]),
        n_unseen=len(new["ratio"]),
        unseen_rejected=_share(new["rejected"]),
        auroc=auroc(new["ratio"], old["ratio"]),
    )


def _share(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _summary(results: Results) -> Table:
    n = len(results.tasks)
    rows = []
    for (method, seed), run in results.routes.items():
        tasks = results.order(method)
        last, over = quality(run, tasks, [n]), quality(run, tasks, list(range(1, n)))
        area = "–" if over.auroc is None else f"{over.auroc:.4f}"
        rows.append(
            [
                method,
                str(seed),
                str(last.n_seen),
                _percent(last.own_nearest),
                _percent(last.own_first),
                _percent(last.seen_rejected),
                str(over.n_unseen),
                str(over.n_seen),
                _percent(over.unseen_rejected),
                area,
            ]
        )
    head = ["Method", "Seed", "n, last step", "Own task nearest %", "Own expert first %"]
    head += ["Backbone answers %", "n unseen", "n seen", "Unseen rejected %", "AUROC"]
    return Table(
        head,
        rows,
        "Left, at the last step, when every task is seen: how often the own task has the lowest "
        "loss-to-threshold ratio, how often its expert is active and ranks first, and how often no "
        "expert is. Right, steps 1 to N-1 together: how often samples of tasks not trained yet "
        "are left to the backbone, and the AUROC of the lowest ratio for unseen against seen "
        "samples (0.5 chance, 1 perfect).",
        title="Summary",
        labels=2,
        name="routing",
    )


def _by_stage(results: Results, method: str, seed: int) -> Table:
    rows = []
    tasks = results.order(method)
    for step, task in enumerate(tasks, 1):
        q = quality(results.routes[method, seed], tasks, [step])
        area = "–" if q.auroc is None else f"{q.auroc:.4f}"
        rows.append(
            [
                f"{step} · {task}",
                str(q.n_seen),
                _percent(q.own_first),
                _percent(q.seen_rejected),
                str(q.n_unseen),
                _percent(q.unseen_rejected),
                area,
            ]
        )
    head = ["After step", "n seen", "Own expert first %", "Seen rejected %"]
    return Table(
        [*head, "n unseen", "Unseen rejected %", "AUROC"],
        rows,
        f"{method}, seed {seed}: the same step by step.",
        title="By step",
        name="routing-steps",
    )


def section(results: Results) -> Section:
    """Accuracy on seen tasks and rejection of unseen ones, per method and seed."""
    title = "Routing quality"
    if not results.routes:
        return Section("routing", title, "Absent: no routes of a method with routers.")
    n = len(results.tasks)
    blocks = [_summary(results), _by_stage(results, *next(iter(results.routes)))]
    if n == 1:
        blocks.append(Note("One task only: there is no step with unseen tasks, hence no AUROC."))
    lead = "No task identity is given at test time: the routers must tell tasks apart."
    return Section("routing", title, lead, blocks)

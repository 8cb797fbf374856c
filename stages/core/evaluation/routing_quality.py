"""Does the routing recognise the tasks it has learnt, and reject those it has not?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.base.artifacts import read_table, task_of


@dataclass(frozen=True)
class Routed:
    """One task's test samples as routed by one run; arrays hold one entry per row."""

    step: np.ndarray  # int
    own_nearest: np.ndarray  # bool: the lowest loss-to-threshold ratio is the own task's
    own_first: np.ndarray  # bool: the own task's expert is active and comes first
    rejected: np.ndarray  # bool: no expert active, the backbone answers
    ratio: np.ndarray  # float, NaN where there is none (step 0)
    active: dict[tuple[int, str], int]  # (step, expert) -> rows in which it is active


@dataclass(frozen=True)
class Quality:
    """Routing at one step, or over several together; shares in 0..1, None without samples."""

    n_seen: int
    own_nearest: float | None  # lowest loss-to-threshold ratio at the own task
    own_first: float | None  # own expert active and first
    seen_rejected: float | None
    n_unseen: int
    unseen_rejected: float | None
    auroc: float | None  # lowest ratio, unseen (positive) against seen


def read_routes(path: Path) -> tuple[str, Routed]:
    """Task and routing decisions of its test samples."""
    task, table = task_of(path), read_table("routes", path)
    step = table["step"].to_numpy()
    experts = table["experts"].to_pylist()
    active: dict[tuple[int, str], int] = defaultdict(int)
    for row, names in zip(step.tolist(), experts, strict=True):
        for name in names:
            active[row, name] += 1
    ratios = table["ratio"].to_pylist()
    return task, Routed(
        step=step,
        own_nearest=np.array([best == task for best in table["best_task"].to_pylist()], bool),
        own_first=np.array([names[:1] == [task] for names in experts], bool),
        rejected=np.array([not names for names in experts], bool),
        ratio=np.array([np.nan if r is None else r for r in ratios], float),
        active=dict(active),
    )


def auroc(unseen: np.ndarray, seen: np.ndarray) -> float | None:
    """Probability that an unseen sample's ratio exceeds a seen one's; ties count one half."""
    if not len(unseen) or not len(seen):
        return None
    ordered = np.sort(seen)
    below = np.searchsorted(ordered, unseen, "left")
    tied = np.searchsorted(ordered, unseen, "right") - below
    return float((below + tied / 2).sum() / (len(unseen) * len(seen)))


def quality(run: Mapping[str, Routed], tasks: Sequence[str], steps: Sequence[int]) -> Quality:
    """Routing of one run over the rows of ``steps``.

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

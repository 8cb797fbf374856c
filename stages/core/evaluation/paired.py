"""Paired differences of two methods, by seed and by task, with a permutation test."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev

from stages.core.evaluation.intervals import half_width

RESAMPLES = 9999  # up to 13 tasks every pattern of signs is counted instead


@dataclass(frozen=True)
class Difference:
    """The difference of a metric: a method minus the reference."""

    mean: float  # over the seeds both have
    spread: float | None  # half of the 95 % interval over seeds; None for one seed
    p: float  # of the permutation test over tasks
    n_tasks: int


def sign_flip_test(differences: list[float]) -> float:
    """Two-sided p that differences with this mean come from a distribution symmetric about 0.

    The exact permutation test of paired samples: all 2^n patterns of signs, or a seeded sample
    of them where there are more than 9999.
    """
    if len(differences) == 1:
        return 1.0  # of the two patterns, both have this mean's size
    import numpy as np
    from scipy.stats import permutation_test

    values = np.asarray(differences, float)
    result = permutation_test(
        (values, np.zeros_like(values)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def difference(runs: list[dict], name: str, reference: str, key: str) -> Difference | None:
    """The paired difference of metric ``key``; None where a run lacks the metric.

    The test's units are tasks, each with its mean over seeds: seeds of a task share their test
    rows, so they are not counted as further evidence.

    Args:
        runs: the ``runs`` of metrics.json.
    """
    found = {
        side: {run["seed"]: run["metrics"][key] for run in runs if run["method"] == side}
        for side in (name, reference)
    }
    seeds = sorted(found[name].keys() & found[reference].keys())
    pairs = [(found[name][seed], found[reference][seed]) for seed in seeds]
    if not pairs or any(metric["value"] is None for pair in pairs for metric in pair):
        return None
    values = [mine["value"] - other["value"] for mine, other in pairs]
    tasks = set.intersection(*(set(metric["per_task"]) for pair in pairs for metric in pair))
    by_task = [
        fmean(mine["per_task"][task] - other["per_task"][task] for mine, other in pairs)
        for task in sorted(tasks)
    ]
    spread = half_width(stdev(values), len(values)) if len(values) > 1 else None
    return Difference(fmean(values), spread, sign_flip_test(by_task), len(tasks))

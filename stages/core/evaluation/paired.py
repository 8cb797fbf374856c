"""Paired differences of two methods: by seed and task, with a permutation test, and by sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from stages.core.evaluation.intervals import half_width

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8  # of the smallest detectable difference
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


@dataclass(frozen=True)
class SampleDifference:
    """The difference of a mean over tasks: a method minus the reference, by test sample."""

    mean: float
    half_width: float  # of the 95 % interval over test rows and seeds
    p: float  # two-sided; the tasks are given, rows and seeds are drawn
    p_tasks: float  # of the permutation test over tasks
    detectable: float  # found at p < 0.05 in four of five such experiments


def by_sample(differences: Mapping[str, np.ndarray]) -> SampleDifference:
    """Test the mean over tasks of paired differences of samples.

    The variance of the mean is that of test rows, drawn apart for each task, plus that of seeds; a
    row's seeds stay together. Degrees of freedom after Satterthwaite (1946). With one seed only
    rows vary. Noise of single answers is counted in both parts, which errs on the safe side.

    Args:
        differences: by task, ``(test rows, seeds)``, at least two rows; every task has the same
            seeds.
    """
    import numpy as np
    from scipy.stats import t

    means = {task: float(values.mean()) for task, values in differences.items()}
    n_tasks, n_seeds = len(means), next(iter(differences.values())).shape[1]
    parts = [  # variance of the mean over tasks, degrees of freedom
        (values.mean(axis=1).var(ddof=1) / len(values) / n_tasks**2, len(values) - 1)
        for values in differences.values()
    ]
    if n_seeds > 1:
        seeds = np.mean([values.mean(axis=0) for values in differences.values()], axis=0)
        parts.append((seeds.var(ddof=1) / n_seeds, n_seeds - 1))
    mean, variance = fmean(means.values()), sum(part for part, _ in parts)
    p_tasks = sign_flip_test(list(means.values()))
    if variance == 0:
        return SampleDifference(mean, 0.0, 1.0 if mean == 0 else 0.0, p_tasks, 0.0)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error, limit = sqrt(variance), float(t.ppf(0.975, freedom))
    return SampleDifference(
        mean,
        limit * error,
        float(2 * t.sf(abs(mean) / error, freedom)),
        p_tasks,
        (limit + float(t.ppf(POWER, freedom))) * error,
    )

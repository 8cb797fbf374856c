"""Confidence intervals of means."""

from __future__ import annotations

from math import sqrt


def half_width(std: float, n: int) -> float:
    """Half of the 95 % interval of a mean over ``n`` >= 2 seeds (Student's t, n - 1 degrees)."""
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1)) * std / sqrt(n)

"""Seeded choices of rows."""

import math
import random


def pick(total: int, count: int, seed: int, name: str) -> list[int]:
    """``count`` of ``range(total)`` in ascending order, uniformly and without replacement.

    All of them if there are no more. The choice depends on the arguments alone; ``name`` (task
    and purpose) keeps equal seeds from choosing the same positions everywhere.
    """
    generator = random.Random(f"{name}/{seed}")
    return sorted(generator.sample(range(total), min(count, total)))


def subset_size(total: int, fraction: float, min_samples: int) -> int:
    """Rows of a subset: the fraction (halves rounded up), at least the minimum, at most all."""
    return min(total, max(min_samples, math.floor(fraction * total + 0.5)))

"""The earlier task beside whose expert a new one learns."""

from collections.abc import Mapping


def choose_parent(
    losses: Mapping[str, float], thresholds: Mapping[str, float] | None, enabled: bool = True
) -> str | None:
    """The parent task, or None.

    Args:
        losses: mean loss of the new task's rows under each earlier router, in stream order.
        thresholds: threshold of each earlier task if one is required, else None.
        enabled: False = no task has a parent.
    """
    if not enabled:
        return None
    allowed = [t for t in losses if thresholds is None or losses[t] <= thresholds[t]]
    return min(allowed, key=losses.__getitem__, default=None)

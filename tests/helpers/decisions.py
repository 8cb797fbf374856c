"""Hand-made files of what the stages decide for the tiny stream."""

from stages.core.base.edits import sealed

PARENTS = {"tiny_caption": None, "tiny_choice": "tiny_caption", "tiny_ground": "tiny_caption"}


def transfer(task: str, parent: str | None) -> dict:
    """A transfer file as the stage would write it."""
    before = list(PARENTS)[: list(PARENTS).index(task)]
    content = {
        "task": task,
        "step": len(before) + 1,
        "parent": parent,
        "losses": {name: 0.1 if name == parent else 0.5 for name in before},
        "require_threshold": False,
        "thresholds": None,
        "provenance": {},
    }
    return sealed(content)


def router(task: str) -> dict:
    """A router file as the stage would write it; its threshold is 1.5."""
    points = ["p01", "p05", "p10", "p25", "p50", "p75", "p90", "p95", "p99"]
    losses = dict.fromkeys(["min", *points, "max", "mean", "std"], 1.0)
    content = {
        "task": task,
        "kind": "autoencoder",
        "numbers": 76,
        "n": 6,
        "dim": 4,
        "hidden": 8,
        "output": "identity",
        "threshold": 1.5,
        "calibration": {
            "method": "train",
            "folds": None,
            "quantile": 0.99,
            "factor": 1.1,
            "quantile_value": 1.0,
        },
        "losses": {"in_fold": losses, "out_of_fold": None},
        "steps": 20,
        "provenance": {},
    }
    return sealed(content)


def allocation(task: str, *slots: dict) -> dict:
    """An allocation as the stage would write it."""
    tower = {"score": 1.0, "ratio": 0.5, "slots": 0, "budget": 0}
    content = {
        "task": task,
        "strategy": "gradient",
        "ratio": 0.5,
        "total_slots": 0,
        "budget": 0,
        "towers": {"vision": tower, "llm": tower},
        "slots": list(slots),
        "expert": {"rank": 8, "alpha": 16},
        "trainable_parameters": 0,
        "switches": {
            "tower_score": "l2",
            "modality": "curriculum",
            "vision_floor": 0.0,
            "include_bias": False,
            "loss": "sample_mean",
        },
        "provenance": {},
    }
    return sealed(content)

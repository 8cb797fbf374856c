"""Continual-learning methods: one file each, loaded by name."""

from importlib import import_module
from pathlib import Path

from stages.core.base.errors import unknown

# Names under which the field knows a method that has another one here.
ALIASES = {"moelora": "dense_mole"}
BOUNDS = ("zero_shot", "individual", "joint")
"""References that are no continual learners."""

NOT_METHODS = ("__init__", "base", "mixture", "registry")


def names() -> list[str]:
    """All methods: the modules of this folder but those that they share."""
    here = Path(__file__).parent
    return sorted(p.stem for p in here.glob("*.py") if p.stem not in NOT_METHODS)


def load(name: str):
    """An instance of the method called ``name``.

    Raises:
        InputError: no such method; the nearest name is suggested.
    """
    if name not in names():
        raise unknown("method", name, names())
    return import_module(f"stages.methods.{name}").METHOD()

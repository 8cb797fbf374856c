"""Continual-learning methods: one file each, loaded by name."""

from importlib import import_module
from pathlib import Path

from stages.core.errors import unknown


def names() -> list[str]:
    """All methods there are: the files of this folder but ``base``."""
    here = Path(__file__).parent
    return sorted(p.stem for p in here.glob("*.py") if p.stem not in ("__init__", "base"))


def load(name: str):  # noqa: ANN201 - the method's module-level class, see base.Method
    """An instance of the method called ``name``.

    Raises:
        InputError: no such method; the nearest name is suggested.
    """
    if name not in names():
        raise unknown("method", name, names())
    return import_module(f"stages.methods.{name}").METHOD()

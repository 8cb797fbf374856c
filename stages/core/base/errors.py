"""The error for bad input, and helpers that word it."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input: the message names what is wrong, where, what was allowed and what to do."""


def unknown(kind: str, name: str, allowed: Iterable[str], where: str = "") -> InputError:
    """The error for a name outside a closed set, with the nearest allowed name suggested."""
    names = sorted(map(str, allowed))
    near = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    place = f"{where}: " if where else ""
    return InputError(f"{place}unknown {kind} {name!r}.{hint} Allowed: {', '.join(names)}.")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)

"""Faults of single rows: collected over a whole file and reported together."""

from collections import Counter
from collections.abc import Callable

from stages.core.base.errors import InputError

SHOWN = 20  # faults spelt out in an error message; the others are counted


class RowError(InputError):
    """What is wrong with one row: a short kind that can be counted, and a sentence."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class FaultList:
    """Counts faults by kind and keeps the first ones word for word (bounded memory).

    ``tell`` gets every fault as a line of text the moment it is found.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._lines: list[str] = []
        self._tell = tell

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, where: str, fault: RowError) -> None:
        """Record one fault of the row at ``where`` (file and line)."""
        line = f"{where}: {fault.kind}: {fault}"
        self.counts[fault.kind] += 1
        if len(self._lines) < SHOWN:
            self._lines.append(line)
        if self._tell:
            self._tell(line)

    def summary(self) -> str:
        """Their number, and the count per kind, the most frequent first."""
        kinds = ", ".join(f"{kind}: {count}" for kind, count in self.counts.most_common())
        return f"{len(self)} fault{'s' if len(self) > 1 else ''} ({kinds})"

    def error(self, what: str) -> InputError:
        """One error for all faults: their counts, then the first ones in full."""
        rest = len(self) - len(self._lines)
        lines = [f"{what}: {self.summary()}; nothing was written.", *self._lines]
        return InputError("\n  ".join(lines + ([f"... and {rest} more"] if rest else [])))

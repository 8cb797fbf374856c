"""What a model needs next, made by other processes while it computes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from stages.core.base import stopping

T = TypeVar("T")
U = TypeVar("U")


class _Made:
    """Items as a torch data set; an error is handed over, since torch would raise another."""

    def __init__(self, items: Sequence[Any], make: Callable[[Any], Any]) -> None:
        self.items, self.make = items, make

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Exception | None]:
        try:
            return self.make(self.items[index]), None
        except Exception as error:
            return None, error


def ahead(items: Sequence[T], make: Callable[[T], U], workers: int) -> Iterator[tuple[T, U]]:
    """Items in their order, each with what ``make`` gives of it.

    Args:
        workers: processes that make the next ones, two each; 0 makes each when it is asked for.

    Raises:
        Exception: what ``make`` raised, when its item's turn comes.
    """
    if not workers:
        for item in items:
            yield item, make(item)
        return
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Made(items, make),  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=2,
        worker_init_fn=_settle,
    )
    for item, (made, error) in zip(items, loader, strict=True):
        if error is not None:
            raise error
        yield item, made


def _as_it_is(made: T) -> T:
    return made


def _settle(_: int) -> None:
    """In a new process: signals are its parent's to obey, and its tokenizer has one thread."""
    leave_signals()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def leave_signals() -> None:
    """In a loading process: the signals that tell a job to stop are its parent's to obey."""
    from torch.utils.data import get_worker_info

    if get_worker_info() is not None:
        for number in stopping.SIGNALS:
            signal.signal(number, signal.SIG_IGN)

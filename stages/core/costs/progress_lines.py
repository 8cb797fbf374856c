"""One line for each job of a run that finishes, with the time left, instead of Snakemake's blocks.

Everything else that Snakemake says stays: errors with their logs, warnings, what the executor
tells. Its own log file is not touched.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from snakemake_interface_logger_plugins.common import LogEvent

from stages.core.costs.outlook import Outlook, duration, outlook, running_trainings
from stages.core.runs.job_states import job_states
from stages.core.runs.run_place import RunPlace

REPLACED = {
    *(LogEvent.JOB_INFO, LogEvent.SHELLCMD, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED),
    LogEvent.PROGRESS,
}
CHATTER = "Select jobs to execute..."
STREAM = "DefaultStreamHandler"  # Snakemake's name for what it prints to
TELLING = 60.0  # seconds; "more than" less than this says nothing
REST, LONGEST = 15.0, 60.0  # seconds between two looks at what is left; more where one takes long


def shorten(logger: logging.Logger, place: RunPlace) -> None:
    """Let Snakemake's ``logger`` say a line per finished job of a run. Without effect where a
    logger plugin prints instead."""
    printing = [h for h in logger.handlers if isinstance(h, logging.StreamHandler)]
    for handler in [h for h in printing if h.name == STREAM]:
        handler.addFilter(lambda record: not _replaced(record))
        logger.addHandler(ProgressLines(handler, lambda at_once: _left(place, at_once)))


def _left(place: RunPlace, at_once: int) -> Outlook:
    states = job_states(place, [])
    return outlook(place, states, running_trainings(place, states), at_once)


def _replaced(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) in REPLACED or record.msg == CHATTER


class ProgressLines(logging.Handler):
    """Follows Snakemake's events and prints where another handler does."""

    def __init__(self, shown: logging.StreamHandler, look: Callable[[int], Outlook]) -> None:
        """``look``: tells what is left, given how many jobs run at a time; asked now and then."""
        super().__init__()
        self.shown, self.look = shown, look
        self.names: dict[int, str] = {}
        self.begun: dict[int, float] = {}
        self.finished: dict[int, float] = {}  # seconds that jobs took, of those not told yet
        self.at_once, self.next_look, self.ending = 1, 0.0, ""

    def emit(self, record: logging.LogRecord) -> None:
        """Note what begins, and print a line for what has finished. What goes wrong here is
        printed as ``logging`` does; the run goes on."""
        try:
            self._follow(record)
        except Exception:
            self.handleError(record)

    def _follow(self, record: logging.LogRecord) -> None:
        now, said = time.monotonic(), vars(record)
        match said.get("event"):
            case LogEvent.JOB_INFO:
                words = (said["rule_name"], *said["wildcards"].values())
                self.names[said["jobid"]] = " ".join(filter(None, words))
            case LogEvent.JOB_STARTED:
                self.begun |= dict.fromkeys(said["jobs"], now)
                self.at_once = max(self.at_once, len(self.begun))
            case LogEvent.JOB_FINISHED:
                number = said["job_id"]
                self.finished[number] = now - self.begun.pop(number, now)
            case LogEvent.PROGRESS:
                self._print(said["done"], said["total"], now)

    def _print(self, done: int, total: int, now: float) -> None:
        jobs = ", ".join(
            f"{self.names.get(number, number)} ({duration(seconds)})"
            for number, seconds in self.finished.items()
        )
        self.finished.clear()
        if now >= self.next_look and done < total:
            self.ending = _time_left(self.look(self.at_once))
            took = time.monotonic() - now
            self.next_look = now + took + min(max(REST, 50 * took), LONGEST)
        line = f"{done} of {total} jobs done{self.ending if done < total else ''}: {jobs}"
        self.shown.stream.write(f"[{time.strftime('%H:%M:%S')}] {line}\n")
        self.shown.flush()


def _time_left(left: Outlook) -> str:
    if left.until_done is None or (left.unknown and left.until_done < TELLING):
        return ""
    return f", {'more than' if left.unknown else 'about'} {duration(left.until_done)} left"

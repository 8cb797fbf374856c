"""What a run prints of its jobs, from Snakemake's events."""

import io
import logging
import re
import time

import pytest

from stages.core.costs import progress_lines
from stages.core.costs.outlook import Outlook


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch):
    """A logger as Snakemake has it and what it has printed; a look says 90 seconds a job left."""
    logger, stream = logging.Logger("snakemake"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.name = "DefaultStreamHandler"
    logger.addHandler(handler)
    looks: list[int] = []

    def look(place: object, at_once: int) -> Outlook:
        looks.append(at_once)
        return Outlook(180.0, len(looks) - 1, 180.0 / at_once)

    monkeypatch.setattr(progress_lines, "_left", look)
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    progress_lines.shorten(logger, None)
    return logger, stream


def event(logger: logging.Logger, name: str, **fields: object) -> None:
    logger.info(name, extra={"event": name} | fields)


def begin(logger: logging.Logger, *numbers: int) -> None:
    logger.info("Select jobs to execute...")
    event(logger, "job_started", jobs=list(numbers))
    for number in numbers:
        wildcards = {"place": "", "scope": "seed0", "task": f"t{number}"}
        event(logger, "job_info", jobid=number, rule_name="fit_router", wildcards=wildcards)


def finish(logger: logging.Logger, number: int, done: int) -> None:
    event(logger, "job_finished", job_id=number)
    event(logger, "progress", done=done, total=3)


def test_a_line_for_each_finished_job(said) -> None:
    logger, stream = said
    begin(logger, 1, 2)
    finish(logger, 2, 1)
    begin(logger, 3)
    finish(logger, 1, 2)
    finish(logger, 3, 3)
    lines = [re.sub(r"^\[\d\d:\d\d:\d\d\] ", "", line) for line in stream.getvalue().splitlines()]
    # the clock goes on by ten seconds with every event
    assert lines[0] == "1 of 3 jobs done, about 90 s left: fit_router seed0 t2 (30 s)"
    assert lines[1].startswith("2 of 3 jobs done, ")
    assert lines[2].startswith("3 of 3 jobs done: fit_router seed0 t3 (")
    assert len(lines) == 3


def test_little_is_known_at_the_start() -> None:
    tell = progress_lines._time_left
    assert tell(Outlook(0.0, 3, None)) == ""
    assert tell(Outlook(6.0, 3, 3.0)) == ""  # of three more jobs nothing is known
    assert tell(Outlook(600.0, 3, 300.0)) == ", more than 5 min left"
    assert tell(Outlook(6.0, 0, 3.0)) == ", about 3 s left"


def test_everything_else_is_said_as_before(said) -> None:
    logger, stream = said
    logger.info("SLURM: a note")
    logger.error("Error in rule score", extra={"event": "job_error"})
    assert stream.getvalue() == "SLURM: a note\nError in rule score\n"


def test_another_logger_is_left_alone() -> None:
    logger = logging.Logger("snakemake")
    logger.addHandler(logging.NullHandler())
    progress_lines.shorten(logger, None)
    assert len(logger.handlers) == 1

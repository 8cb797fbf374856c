"""How a stage must refuse a bad input: exit code 1, a plain message, and nothing written."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.core.base import cli


def succeeds(main: Callable, arguments: Sequence[object], out: Path) -> None:
    """Run a stage on sound input, so that a refusal of the same with one fault means something."""
    cli.run(main, [str(argument) for argument in arguments])
    assert out.exists()


def refused(
    main: Callable, arguments: Sequence[object], out: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """The message of a stage that refuses; faults of rows are listed below its first line."""
    before = set(out.parent.iterdir()) if out.parent.exists() else set()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.run(main, [str(argument) for argument in arguments])
    message = capsys.readouterr().err
    assert ended.value.code == 1, message
    told = message[message.index("error: ") :]
    first, *rest = told.splitlines()
    assert all(line.startswith("  ") for line in rest), message
    assert len(first) > len("error: ")
    after = set(out.parent.iterdir()) if out.parent.exists() else set()
    assert after == before, f"left behind: {after - before}"
    return told

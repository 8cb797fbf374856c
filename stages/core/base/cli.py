"""Command-line glue shared by all stages: parser, error exit, logging of the result."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.core.base.errors import InputError
from stages.core.base.stopping import EXIT_CODE, Stopped
from stages.core.base.writing import STORAGE_ADVICE


def parser(doc: str, *, config: bool = True) -> argparse.ArgumentParser:
    """An argument parser that shows the stage's docstring; ``--config`` unless told otherwise."""
    built = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if config:
        built.add_argument(
            "--config", required=True, help="a YAML config file, or the stage's slice as JSON text"
        )
    return built


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> None:
    """Run a stage's ``main``; bad input or a full or closed disk is one line on stderr, exit 1; a
    stage that was told to stop says what it saved, and its exit code is that of ``stopping``."""
    try:
        main(argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as told:
        print(f"stopped: {told}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except OSError as error:
        if error.errno not in STORAGE_ADVICE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {where}{os.strerror(error.errno)}: {STORAGE_ADVICE[error.errno]}",
            file=sys.stderr,
        )
        sys.exit(1)


def paths(items: Sequence[str] | None) -> list[Path]:
    """Command-line strings as paths; an absent list flag is an empty list."""
    return [Path(item) for item in items or []]


def printable(text: str) -> str:
    """A text without what would steer a terminal; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)

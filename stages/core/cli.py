"""Command-line glue shared by all stages: parser, error exit, logging of the result."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.core.errors import InputError


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
    """Run a stage's ``main``; an :class:`InputError` becomes one line on stderr and exit 1."""
    try:
        main(argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def paths(items: Sequence[str] | None) -> list[Path]:
    """Command-line strings as paths; an absent list flag is an empty list."""
    return [Path(item) for item in items or []]

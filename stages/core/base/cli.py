"""Command-line glue shared by all stages: parser, error exit, logging of the result."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.core.base.errors import InputError
from stages.core.base.stopping import EXIT_CODE, Stopped

# What a user or an administrator can mend; any other failed system call is a fault of ours.
STORAGE_ADVICE = {
    errno.EACCES: "check the owner and the permissions of the folder.",
    errno.EPERM: "check the owner and the permissions of the folder.",
    errno.EROFS: "choose another folder: key output of the configuration.",
    errno.ENOSPC: "free some space and run again; what is finished is kept.",
    errno.EDQUOT: "free some of your quota and run again; what is finished is kept.",
}


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

"""A stage whose second process meets bad input while the first one waits for it."""

from stages.core.base import cli, distributed
from stages.core.base.errors import InputError


def main(argv: object = None) -> None:
    """Die, or wait."""
    distributed.connect()
    if not distributed.is_first():
        raise InputError("row s7 of this process is bad.")
    distributed.wait()


if __name__ == "__main__":
    cli.run(main)

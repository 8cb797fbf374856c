"""A stage whose second process meets bad input while the first one waits for it."""

from stages.core import cli, distributed
from stages.core.errors import InputError


def main(argv: object = None) -> None:
    """Die, or wait."""
    distributed.connect()
    if not distributed.is_first():
        raise InputError("row s7 of this process is bad.")
    distributed.wait()


if __name__ == "__main__":
    cli.run(main)

"""Delete edited artefacts, so that the next run makes them again as the stages decide.

Takes allocations, routers (thresholds) and transfers (parents). If one of the files is none of
these, or was not edited, nothing is deleted.

    cmit discard-edits results/pocket/seed0/routers/iconqa.json
"""

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli, edits
from stages.core.base.errors import InputError
from stages.core.runs.stage_table import artefact

FOLDERS = [Path(artefact(name).path).parent.name for name in edits.EDITABLE]


def check(path: Path) -> None:
    """That a file is an edited artefact; it may be damaged.

    Raises:
        InputError: no such file, no artefact that people edit, or not edited.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    known = path.suffix == ".json" and path.parent.name in FOLDERS
    if not known or b'"provenance"' not in path.read_bytes():
        raise InputError(
            f"{path}: no artefact that people edit; give JSON files that a stage wrote to "
            f"a folder {', '.join(FOLDERS)}. Nothing was deleted."
        )
    if not edits.is_edited(path):
        raise InputError(f"{path}: was not edited. Nothing was deleted.")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="edited file")
    paths = dict.fromkeys(parser.parse_args(argv).paths)
    for path in paths:
        check(path)
    for path in paths:
        path.unlink()
        print(f"deleted: {path} (the next run makes it again)")


if __name__ == "__main__":
    cli.run(main)

"""Take an allocation, a router or a transfer from a file instead of deciding it (``overrides``).

Reads   a JSON file of the artefact's kind: a copy of one that a stage wrote, edited
Writes  allocations/{task}.override.json, routers/{task}.override.json or
        transfers/{task}.override.json: the same content, with a provenance that says so

    python -m stages.take_override --artefact router --file my/iconqa.json --task iconqa \\
        --out results/pocket/seed0/routers/iconqa.override.json
"""

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, edits, provenance
from stages.core.dmole.decisions import read_decision


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--artefact", choices=edits.EDITABLE, required=True)
    parser.add_argument("--file", type=Path, required=True, help="file to take")
    parser.add_argument("--task", required=True)
    parser.add_argument("--earlier", nargs="*", default=[], help="tasks that can be its parent")
    parser.add_argument("--out", type=Path, required=True, help="artefact to write")
    args = parser.parse_args(argv)
    edits.refuse_edited(args.out)
    content = read_decision(args.artefact, args.file, args.task, args.earlier)
    content["provenance"] = provenance.record("take_override", {"override": args.file}, {})
    artifacts.write_json(args.artefact, args.out, content)


if __name__ == "__main__":
    cli.run(main)

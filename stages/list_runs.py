"""Write the run sheet: which run (method or variant, and seed) has which artefact where.

Reads   nothing but the configuration and the manifests it names
Writes  runs.json
Config  all keys but those that decide no result: output, gpus, loader, general

    python -m stages.list_runs --config workflow/config/demo.yaml --root . --out runs.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, config, provenance
from stages.core.runs.run_sheet import sheet_of
from stages.core.runs.runs import Runs


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--root", default=".", help="the stream's folder, from that of the sheet")
    parser.add_argument("--out", type=Path, required=True, help="run sheet to write")
    args = parser.parse_args(argv)
    sheet = sheet_of(Runs(config.from_argument(args.config)), args.root)
    sheet["provenance"] = provenance.record("list_runs", {}, {})
    artifacts.write_json("runs", args.out, sheet)


if __name__ == "__main__":
    cli.run(main)

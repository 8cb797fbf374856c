"""Ship an aligned pocket backbone: its delta, the checksums of its assembly, its figures.

Reads   a delta file; the folders assembled with it and without it; the evaluation of the former
Writes  <manifest>/{delta.safetensors,evaluation.json}, the checksums in <manifest>/manifest.json
        and the table between the two ``figures`` marks of <manifest>/README.md

    python -m stages.pocket.export_backbone --delta results/pocket_backbone/delta.safetensors \\
        --aligned results/pocket_backbone/aligned --unaligned results/backbones/pocket-unaligned \\
        --evaluation results/pocket_backbone/evaluation.json
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.errors import InputError
from stages.pocket import parts
from stages.pocket.assemble_backbone import MANIFEST, verify
from stages.pocket.delta import FILE

LARGEST = 25_000_000  # bytes of a delta that a repository may carry
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
ROWS = (  # of the table: what, probe, figure, unit, aim
    ("kind of object, 10 kinds, open answer", "kind", "accuracy", " %", ">= 60 %"),
    ("the same, mean over the kinds", "kind", "mean_over_kinds", " %", ""),
    ("box of a named object among three, mean IoU", "box", "mean_iou", "", ">= 0.35"),
    ("the same, IoU above 0.5", "box", "iou_above_half", " %", ""),
    ("box of the only object, mean IoU", "only_box", "mean_iou", "", ""),
    ("the same, IoU above 0.5", "only_box", "iou_above_half", " %", ""),
    ("caption of one object, CIDEr x 100", "caption", "cider", "", ">= 40"),
    ("rendered town name, exact", "word", "accuracy", " %", ""),
    ("the same, similarity of spelling", "word", "similarity", "", ""),
    ("one or two rendered capitals, exact", "capitals", "accuracy", " %", ""),
    ("handwritten number of 1-5 digits, exact", "number", "accuracy", " %", ""),
    ("the same, similarity of spelling", "number", "similarity", "", ""),
)


def export_backbone(
    delta: Path, aligned: Path, unaligned: Path, evaluation: Path, manifest_folder: Path
) -> None:
    """Copy the delta and record what its assembly gives.

    Raises :class:`InputError` if the delta is too large or a folder is damaged.
    """
    size = delta.stat().st_size
    if size > LARGEST:
        raise InputError(f"{delta}: {size} bytes, at most {LARGEST} are shipped; lower the ranks.")
    path = manifest_folder / "manifest.json"
    manifest = parts.read_manifest(path)
    for key, folder in (("assembled", aligned), ("assembled_without_delta", unaligned)):
        verify(folder, None)
        manifest[key] = json.loads((folder / "checksums.json").read_text())
    manifest["delta_sha256"] = parts.sha256(delta)
    figures = json.loads(evaluation.read_text())
    readme = manifest_folder / "README.md"
    text = with_figures(readme.read_text(), figures, readme)
    shutil.copyfile(delta, manifest_folder / FILE)
    shutil.copyfile(evaluation, manifest_folder / "evaluation.json")
    readme.write_text(text)
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def with_figures(text: str, figures: dict[str, dict[str, float]], readme: Path) -> str:
    """The README's text with the table of figures between its marks.

    Raises:
        InputError: a mark is missing.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{readme}: needs the lines {BEGIN.strip()!r} and {END.strip()!r} once.")
    lines = ["| probe | n | figure | aim |", "|---|---|---|---|"]
    for what, probe, name, unit, aim in ROWS:
        value = f"{figures[probe][name]:.3g}{unit}"
        lines.append(f"| {what} | {figures[probe]['n']} | {value} | {aim} |")
    head, rest = text.split(BEGIN)
    return head + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--delta", type=Path, required=True, help="the delta to ship")
    parser.add_argument("--aligned", type=Path, required=True, help="folder assembled with it")
    parser.add_argument("--unaligned", type=Path, required=True, help="folder assembled without")
    parser.add_argument("--evaluation", type=Path, required=True, help="figures of --aligned")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="where it is shipped")
    args = parser.parse_args(argv)
    export_backbone(args.delta, args.aligned, args.unaligned, args.evaluation, args.manifest)


if __name__ == "__main__":
    cli.run(main)

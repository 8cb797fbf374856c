"""Check both splits of a task: every fault by row, a summary, and targets that cannot score.

    cmit check-data my_task.yaml

The same as ``python -m stages.prepare_data --check my_task.yaml``. Nothing is written.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.config import schema
from stages.core.base.errors import InputError
from stages.core.data.faults import FaultList
from stages.core.data.manifests import Manifest, Split, load_manifest
from stages.core.data.rows import sound_rows
from stages.core.data.samples import Converter
from stages.core.evaluation.scores import columns, report_targets
from stages.prepare_data import EXIF, unexpected


def check_data(
    manifest: Manifest,
    max_pixels: int,
    *,
    exif: str = "apply",
    decode: bool = False,
    backbone: Path | None = None,
) -> None:
    """Print a report on both splits: every fault by row, counts, or a summary of sound rows; with
    a backbone also how many rows are longer than its context.

    Raises :class:`InputError` if anything is wrong, after both splits were looked at.
    """
    broken = []
    for name in ("train", "test"):
        faults = FaultList(tell=print)
        try:
            split = manifest.split(name)
            converter = Converter(manifest, split, max_pixels, exif=exif, decode=decode)
            _summarise(manifest, split, sound_rows(manifest, split, converter, faults=faults))
            if backbone is not None:
                _report_length(split, sound_rows(manifest, split, converter), backbone)
            if name == "test":
                rows = sound_rows(manifest, split, converter)
                looked_at = columns(manifest.metric)  # not at embedded images
                report_targets(
                    manifest.metric,
                    {row["sample_id"]: {name: row[name] for name in looked_at} for row in rows},
                )
        except InputError as error:
            broken.append(name)
            print(f"{name}: {faults.summary()}" if faults else f"{error}")
    if broken:
        raise InputError(
            f"{manifest.path}: {' and '.join(broken)} cannot be used; mend the rows above."
        )


def _report_length(split: Split, rows: Iterator[dict], folder: Path) -> None:
    """Print how long rows are in tokens, and which exceed the backbone's context."""
    from stages.core.backbone.architecture import read_architecture
    from stages.core.backbone.load import load_prompter

    properties = schema("config")["properties"]["backbone"]["properties"]
    settings = {key: rule.get("default") for key, rule in properties.items()}
    prompter = load_prompter(folder, read_architecture(folder, settings)[1])
    longest, beyond = 0, []
    for row in rows:
        count = len(prompter.conversation(row["turns"], prompter.tile_counts(row))[0])
        longest = max(longest, count)
        if prompter.context is not None and count > prompter.context:
            beyond.append(row["sample_id"])
    print(f"{split.name}: rows of up to {longest} tokens; the backbone takes {prompter.context}")
    if beyond:
        raise InputError(
            f"{split.name}: {len(beyond)} rows are longer than the backbone's context, such as "
            f"{', '.join(beyond[:3])}; shorten them, or cut training rows with backbone.max_length."
        )


def _summarise(manifest: Manifest, split: Split, rows: Iterator[dict]) -> None:
    """Print what a sound split holds; warn where it differs from what the manifest expects."""
    ending = (manifest.prompt or "").rpartition("}")[2].strip()
    count = images = rotated = turns = answer_words = as_prompted = pixels = 0
    for row in rows:
        count += 1
        images += len(row["images"])
        rotated += sum(image["orientation"] is not None for image in row["images"])
        turns += len(row["turns"])
        answer_words += sum(len(turn["answer"].split()) for turn in row["turns"])
        as_prompted += sum(turn["question"].endswith(ending) for turn in row["turns"])
        pixels = max(pixels, (row["width"] or 0) * (row["height"] or 0))
    print(
        f"{split.name}: sound. {count} rows, {images} images (largest {pixels} pixels), "
        f"{turns} turns, {answer_words / turns:.1f} words per answer"
    )
    if rotated:
        print(f"{split.name}: note: {rotated} images are rotated as their EXIF data say")
    if as_prompted < turns:
        print(
            f"{split.name}: note: {turns - as_prompted} of {turns} questions end otherwise than "
            f"the manifest's prompt ({ending!r}); such rows keep their own prompts"
        )
    if note := unexpected(split.rows, count):
        print(f"{split.name}: note: {note}")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("manifest", type=Path, help="a task's YAML file")
    parser.add_argument("--root", type=Path, help="data root, instead of the manifest's")
    parser.add_argument("--max-pixels", type=int, help="largest image allowed (default, config's)")
    parser.add_argument("--backbone", type=Path, help="folder, to count rows beyond its context")
    parser.add_argument(
        "--exif", choices=EXIF["enum"], default=EXIF["default"], help="orientation of photographs"
    )
    parser.add_argument("--decode", action="store_true", help="read every image in full")
    args = parser.parse_args(argv)
    limit = args.max_pixels or schema("config")["properties"]["max_pixels"]["default"]
    manifest = load_manifest(args.manifest, args.root)
    check_data(manifest, limit, exif=args.exif, decode=args.decode, backbone=args.backbone)


if __name__ == "__main__":
    cli.run(main)

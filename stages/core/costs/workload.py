"""How large a task's rows are: tiles and tokens, sampled from its data or assumed.

In this order: the prepared table of the run; the files that the manifest names; what the manifest
says under ``typical``. The origin is part of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from stages.core.backbone.families.base import Family
from stages.core.backbone.prompts import IGNORE, Prompter
from stages.core.base.errors import InputError
from stages.core.base.sampling import pick
from stages.core.data.manifests import Manifest

SAMPLE = 256  # rows looked at

# ASSUME: for a backbone folder without tokenizer, and for rows that are only described.
CHARACTERS_PER_TOKEN = 4
TEMPLATE_TOKENS = 50  # of the chat template with a system message, per row

# ASSUME: for tasks whose manifest does not say what a row is like; all of them alike, so that
# their numbers of rows decide.
TYPICAL = {"image": [448, 448], "question_tokens": 32, "answer_tokens": 16}


@dataclass(frozen=True)
class Workload:
    """Means over the rows of a split."""

    rows: int
    origin: str  # where the means come from
    images: float
    tiles: float
    question: float  # tokens of the bare first question, for features
    prompt: float  # tokens before the last answer, image tokens included
    tokens: float  # of the whole row
    answer: float  # predicted tokens: all answers and their ends
    beyond: float  # share of rows that are longer than the backbone's context


class Ruler:
    """Counts tiles and tokens of rows for one backbone; exact where its tokenizer is available."""

    def __init__(self, family: Family, prompter: Prompter | None) -> None:
        self.family, self.prompter = family, prompter

    def tiles(self, width: int, height: int) -> int:
        """Tiles of an image, the thumbnail included."""
        marks = self.family.marks(self.family.tile_count(width, height))
        return marks.count(self.family.token) // self.family.tokens_per_tile

    def row(self, row: dict[str, Any]) -> dict[str, float]:
        """The sizes of one row of the data artefact, as in :class:`Workload`."""
        counts = Prompter(None, self.family).tile_counts(row)
        marks = "".join(map(self.family.marks, counts))
        tiles = marks.count(self.family.token) // self.family.tokens_per_tile
        texts = [turn["question"] for turn in row["turns"]]
        sizes = {"images": len(row["images"]), "tiles": tiles}
        if self.prompter is None:
            answers = [len(turn["answer"]) / CHARACTERS_PER_TOKEN + 1 for turn in row["turns"]]
            asked = sum(map(len, texts)) / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS
            image = tiles * self.family.tokens_per_tile
            whole, last = image + asked + sum(answers), answers[-1]
            question = len(texts[0]) / CHARACTERS_PER_TOKEN
            return sizes | _lengths(question, whole - last, whole, sum(answers), beyond=0)
        ids, labels = self.prompter.conversation(row["turns"], counts)
        prompt = self.prompter.prompt(row["turns"], counts)
        asked_ids = self.prompter.plain_ids(texts[0])
        answer = sum(label != IGNORE for label in labels)
        beyond = self.prompter.context is not None and len(ids) > self.prompter.context
        return sizes | _lengths(len(asked_ids), len(prompt), len(ids), answer, beyond)

    def typical(self, typical: dict[str, Any]) -> dict[str, float]:
        """The sizes of a row that a manifest describes."""
        tiles = self.tiles(*typical["image"])
        prompt = tiles * self.family.tokens_per_tile + TEMPLATE_TOKENS + typical["question_tokens"]
        answer = typical["answer_tokens"]
        lengths = _lengths(typical["question_tokens"], prompt, prompt + answer, answer, beyond=0)
        return {"images": 1, "tiles": tiles} | lengths


def _lengths(
    question: float, prompt: float, tokens: float, answer: float, beyond: float
) -> dict[str, float]:
    return {
        "question": question,
        "prompt": prompt,
        "tokens": tokens,
        "answer": answer,
        "beyond": beyond,
    }


def described(manifest: Manifest, split: str) -> dict[str, Any]:
    """A row of a split as its manifest describes it, or as any row may be."""
    content = manifest.content
    return content[split].get("typical") or content.get("typical") or TYPICAL


def workload(
    manifest: Manifest,
    split: str,
    prepared: Path,
    ruler: Ruler,
    *,
    limit: int | None,
    max_pixels: int,
    exif: str = "apply",
) -> Workload:
    """The workload of one split.

    Args:
        prepared: where the run's table of the split is, if it is.
        limit: at most so many rows are used.

    Raises:
        InputError: nothing is known of the rows, or the files are faulty.
    """
    total, rows, origin = _rows(manifest, split, prepared, max_pixels, exif)
    sizes = [ruler.row(row) for row in rows]
    typical = manifest.content[split].get("typical") or manifest.content.get("typical")
    if not sizes:
        if not total or not typical:
            raise InputError(
                f"{manifest.path}: {split}: its files are not there. For a plan without them say "
                "how many rows there are ('rows') and what they are like ('typical')."
            )
        sizes = [ruler.typical(typical)]
    means = {key: fmean(size[key] for size in sizes) for key in sizes[0]}
    rows_used = len(rows) if total is None else total
    return Workload(min(rows_used, limit or rows_used), origin, **means)


def _rows(
    manifest: Manifest, split: str, prepared: Path, max_pixels: int, exif: str
) -> tuple[int | None, list[dict], str]:
    """Number of rows, some of them, and where they are from."""
    if prepared.is_file():
        return *_prepared_rows(prepared, f"{manifest.name}/{split}"), "prepared table"
    entry = manifest.content[split]
    if "file" in entry and (manifest.root.folder / entry["file"]).exists():
        return *_source_rows(manifest, split, max_pixels, exif), "source files"
    return entry.get("rows"), [], "assumed"


def _prepared_rows(path: Path, name: str) -> tuple[int, list[dict]]:
    import pyarrow.parquet as pq

    from stages.core.base import artifacts
    from stages.core.base.reading import reading

    artifacts.metadata(path)
    with reading(path, "Parquet"), pq.ParquetFile(path) as file:
        chosen = pick(file.metadata.num_rows, SAMPLE, 0, name)
        batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=1024))
        return file.metadata.num_rows, list(_at(chosen, (row for b in batches for row in b)))


def _source_rows(
    manifest: Manifest, split: str, max_pixels: int, exif: str
) -> tuple[int, list[dict]]:
    from stages.core.data.readers import formats as readers
    from stages.core.data.rows import sound_rows
    from stages.core.data.samples import Converter

    source = manifest.split(split)
    total = sum(1 for _ in readers.rows(source))
    chosen = set(pick(total, SAMPLE, 0, f"{manifest.name}/{split}"))
    converter = Converter(manifest, source, max_pixels, exif=exif)
    return total, list(sound_rows(manifest, source, converter, chosen))


def _at(positions: Iterable[int], rows: Iterable[dict]) -> Iterator[dict]:
    wanted = set(positions)
    return (row for position, row in enumerate(rows) if position in wanted)

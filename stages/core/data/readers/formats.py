"""Readers of public data formats: each turns one split's files into records, row by row.

A format is a container of rows (containers.py) and the columns that it uses for our names; what
joins several parts has a module of its own. A manifest's ``fields`` replace single columns.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.manifests import Split
from stages.core.data.readers import coco, containers, hub, second_file, vizwiz
from stages.core.data.readers.record import IMAGE_COLUMNS, NAMES, TURN_COLUMNS, Record, from_mapping

Rows = Iterator[tuple[str, Any]]  # (file and line, raw row)


@dataclass(frozen=True)
class Format:
    """``rows`` gives a split's raw rows; ``columns`` maps our names to the format's own.

    ``text_only``: a row of this format may do without an image.
    """

    rows: Callable[[Split], Rows]
    columns: dict[str, str]
    text_only: bool = False


def _lines(split: Split) -> Rows:
    return containers.lines(split.file)


def _parquet(split: Split) -> Rows:
    selector = ["split"] if split.selected is not None else []
    named = [column for column in split.fields.values() if column]
    return containers.parquet(split.file, required=[*named, *selector], optional=OPTIONAL)


OPTIONAL = (*NAMES, *IMAGE_COLUMNS, *TURN_COLUMNS)
_SAME = {name: name for name in NAMES}
_CONVERSATIONS = {"id": "id", "image": "image", "conversations": "conversations"}
_LLAVA_TEST = {"question": "text", "answers": "answer", "box": "answer_bbox"}
_LLAVA = {**_CONVERSATIONS, **_LLAVA_TEST}
_VQA = {"id": "question_id", "image": "image", "question": "question", "answers": "answer"}
_CHOICE = {
    "id": "id",
    "image": "image",
    "question": "question",
    "choices": "choices",
    "answer_index": "answer",
}
_SKVG = {
    "image": "image",
    "question": "sent",
    "knowledge": "knowledge",
    "box": "bbox",
    "width": "width",
    "height": "height",
}
FORMATS: dict[str, Format] = {
    "parquet": Format(_parquet, _SAME),
    "internvl_jsonl": Format(_lines, _CONVERSATIONS, text_only=True),
    "llava_json": Format(second_file.rows, _LLAVA, text_only=True),
    "vqa_jsonl": Format(_lines, _VQA),
    "vizwiz": Format(vizwiz.rows, _VQA),
    "choice_jsonl": Format(_lines, _CHOICE),
    "skvg": Format(_lines, _SKVG),
    "coco_captions": Format(coco.rows, {"id": "id", "image": "image", "answers": "captions"}),
    "datasets": Format(hub.rows, _SAME),
}


def columns(split: Split) -> dict[str, str | None]:
    """Our names mapped to the split's columns."""
    defaults = FORMATS[split.format].columns
    if split.format == "llava_json" and split.name == "test":
        defaults = {**defaults, "id": "question_id"}
    return {**defaults, **split.fields}


def rows(split: Split) -> Iterator[tuple[str, Any]]:
    """(file and line, row) for every row of the split; a broken one is given as its fault."""
    by_column = split.selected is not None and split.format != "datasets"
    try:
        for where, raw in FORMATS[split.format].rows(split):
            try:
                row = containers.loads(raw)
            except RowError as fault:
                row = fault
            other = by_column and isinstance(row, Mapping) and row.get("split") != split.selected
            if not other:
                yield where, row
    except RowError as fault:  # the rest of the file cannot be read
        yield str(split.path), fault


def reader(split: Split) -> Callable[[Any], Record]:
    """Return a function that turns a raw row into its record, or raises its :class:`RowError`.

    Raises :class:`InputError` if the manifest asks a question where the format's rows do.
    """
    named, text_only = columns(split), FORMATS[split.format].text_only
    if split.question:
        _check_silent(split, named)

    def read(row: Any) -> Record:
        if isinstance(row, RowError):
            raise row
        record = from_mapping(row, named, text_only=text_only)
        return _asked(record, split.question) if split.question else record

    return read


def _check_silent(split: Split, named: Mapping[str, str | None]) -> None:
    """Refuse a format whose rows always have questions; rows of :data:`_SAME` may have them."""
    if FORMATS[split.format].columns is _SAME and not split.fields.get("question"):
        return
    for name in ("question", "conversations"):
        if named.get(name):
            raise InputError(
                f"{split.path}: 'question' of the manifest, but the rows' own stand under "
                f"{named[name]!r}. Leave it out, or say 'fields: {{{name}: null}}'."
            )


def _asked(record: Record, question: str) -> Record:
    if record.question or record.turns:
        raise RowError("two questions", "one of the row, one of the manifest ('question')")
    return replace(record, question=question)

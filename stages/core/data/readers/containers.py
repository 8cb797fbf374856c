"""Containers of rows: lines of JSON, one JSON array, Parquet. All of them stream.

Each gives ``(where, raw)`` pairs, file and line or row, counted from 1; a raw value becomes a
mapping through :func:`loads`, so that a broken line is one fault and the next line still counts.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.base.errors import InputError, unknown
from stages.core.data.faults import RowError

CHUNK = 1 << 20  # characters read at once from a JSON array
PEEKED = 256  # bytes of a JSON file that tell an array from lines
LONGEST_TOKEN = 64  # a token of JSON cut at the window's end starts at most so far before it
PARQUET_ROWS = 64  # rows held at once: images may be embedded


ARRAY = "format llava_json"
LINES = "formats internvl_jsonl, vqa_jsonl, choice_jsonl and skvg"

CUT_OR_FALSE = (EOFError, gzip.BadGzipFile, zlib.error)  # of a file whose name ends in .gz

Rows = Iterator[tuple[str, Any]]


def opened(path: Path) -> Any:
    """A file's bytes; one whose name ends in .gz is unpacked."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def lines(path: Path) -> Rows:
    """The lines of a file as bytes; blank ones are skipped.

    Raises:
        RowError: packed data that cannot be unpacked.
    """
    number = 0
    try:
        with opened(path) as handle:
            for number, line in enumerate(handle, start=1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if number == 1 and line.lstrip().startswith(b"["):
                    problem = f"{path} is one JSON array; {ARRAY} reads arrays"
                    raise RowError("wrong format", problem)
                if line and not line.isspace():
                    yield f"{path}:{number}", line
    except CUT_OR_FALSE as error:
        raise RowError("broken gzip", f"{path}:{number + 1}: {error}") from None


def loads(raw: Any) -> Any:
    """The JSON value of a line of bytes; what is no longer bytes passes through.

    Raises:
        RowError: not UTF-8, or not JSON.
    """
    if not isinstance(raw, bytes):
        return raw
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RowError("not UTF-8", f"byte {error.start} of the line: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise RowError("broken JSON", f"{error.msg}: character {error.pos}") from None
    except ValueError as error:  # a number of thousands of digits
        raise RowError("broken JSON", str(error)) from None
    except RecursionError:
        raise RowError("broken JSON", "nested too deeply") from None


def array(path: Path) -> Rows:
    """The items of one JSON array, without holding the file in memory.

    Text that does not parse raises :class:`RowError`: what follows it cannot be told apart.
    """
    count = 0
    try:
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig") as handle:
            text = _JsonText(handle)
            if text.peek() == "{":
                raise RowError("wrong format", f"{path} has no array; {LINES} read JSON lines")
            text.take("[")
            while text.peek() != "]" or count:
                count += 1
                yield f"{path}: item {count}", text.value()
                if text.peek() == "]":
                    return
                text.take(",")
    except UnicodeDecodeError as error:
        raise RowError("not UTF-8", f"near item {count + 1}: {error.reason}") from None
    except CUT_OR_FALSE as error:
        raise RowError("broken gzip", f"{path}: near item {count + 1}: {error}") from None
    except RowError as fault:
        raise RowError(fault.kind, f"near item {count}: {fault}") from None


def array_or_lines(path: Path) -> Rows:
    """The rows of a JSON file of either kind.

    Raises:
        RowError: packed data that cannot be unpacked, or broken JSON.
    """
    try:
        with opened(path) as handle:
            start = handle.read(PEEKED).removeprefix(codecs.BOM_UTF8).lstrip()
    except CUT_OR_FALSE as error:
        raise RowError("broken gzip", f"{path}:1: {error}") from None
    return array(path) if start.startswith(b"[") else lines(path)


class _JsonText:
    """A sliding window over a file of JSON text."""

    _decoder = json.JSONDecoder()
    _space = re.compile(r"\s*")

    def __init__(self, handle: IO[str]) -> None:
        self._handle, self._text, self._at = handle, "", 0

    def _read_on(self) -> bool:
        """Drop what was read; double the window. False at the end of the file."""
        rest = self._text[self._at :]
        more = self._handle.read(max(CHUNK, len(rest)))
        self._text, self._at = rest + more, 0
        return bool(more)

    def peek(self) -> str:
        """The next character that is no space, or "" at the end."""
        while True:
            blank = self._space.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def take(self, wanted: str) -> None:
        """Step over one given character.

        Raises:
            RowError: another character is there.
        """
        found = self.peek()
        if found != wanted:
            raise RowError("broken JSON", f"expected {wanted!r}, found {found or 'the end'!r}")
        self._at += 1

    def value(self) -> Any:
        """Step over one JSON value; it counts once a character behind it is in sight.

        Raises:
            RowError: there is none.
        """
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                problem = "the file ends in the middle of the array"
            except RecursionError:
                raise RowError("broken JSON", "nested too deeply") from None
            except json.JSONDecodeError as error:
                end, problem = len(self._text), error.msg
                cut = problem.startswith("Unterminated string") or error.pos > end - LONGEST_TOKEN
                if not cut:  # reading on cannot mend it
                    raise RowError("broken JSON", problem) from None
            except ValueError as error:  # a number of thousands of digits
                raise RowError("broken JSON", str(error)) from None
            if end < len(self._text):
                self._at = end
                return value
            if not self._read_on():
                raise RowError("broken JSON", problem)


def whole(path: Path) -> Any:
    """A JSON file's content, for files that must be joined before they can be read by rows.

    Raises:
        InputError: not UTF-8, or not JSON.
    """
    try:
        with opened(path) as handle:
            return json.loads(handle.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}: {error.reason}.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}.") from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{path}: not valid JSON: {error}.") from None
    except RecursionError:
        raise InputError(f"{path}: not valid JSON: nested too deeply.") from None
    except CUT_OR_FALSE as error:
        raise InputError(f"{path}: broken gzip: {error}. Get the file again.") from None


def table(path: Path, required: Iterable[str]) -> Rows:
    """The rows of a CSV file, every value as its text: 007 stays 007, and NA is a word.

    Raises :class:`InputError` for an absent required column.
    """
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, restkey="", strict=True)
        try:
            present = reader.fieldnames or []
            for column in required:
                if column not in present:
                    raise unknown("column", column, present, str(path))
            for row in reader:
                where = f"{path}:{reader.line_num}"
                short = "" in row or None in row.values()
                fault = RowError("broken row", f"not as many values as columns ({len(present)})")
                yield where, fault if short else row
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8: {error.reason}.") from None
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not readable as CSV: {error}.") from None
        except CUT_OR_FALSE as error:
            raise InputError(f"{path}:{reader.line_num + 1}: broken gzip: {error}.") from None


def shortest(value: Any, kind: pa.DataType) -> Any:
    """A value of an Arrow type, its float16 and float32 as the numbers that their shortest digits
    say, 0.1 instead of 0.10000000149; in lists and structures too."""
    if value is None:
        return None
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return float(str(kind.to_pandas_dtype()(value)))
    if isinstance(value, list) and not pa.types.is_map(kind):
        return [shortest(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: shortest(value[field.name], field.type) for field in kind}
    return value


def short_floats(schema: pa.Schema) -> dict[str, pa.DataType]:
    """The columns that :func:`shortest` may change, with their types."""
    return {field.name: field.type for field in schema if "float" in str(field.type)}


def parquet(path: Path, required: Iterable[str], optional: Iterable[str]) -> Rows:
    """The rows of a Parquet file, only the columns asked for.

    Raises :class:`InputError` for an unreadable file or an absent required column.
    """
    try:
        with pq.ParquetFile(path) as table:
            present = table.schema_arrow.names
            for column in required:
                if column not in present:
                    raise unknown("column", column, present, str(path))
            wanted = sorted({*required, *optional} & set(present))
            number = 0
            short = short_floats(pa.schema([table.schema_arrow.field(name) for name in wanted]))
            for batch in table.iter_batches(PARQUET_ROWS, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    numbers = {name: shortest(row[name], kind) for name, kind in short.items()}
                    yield f"{path}: row {number}", row | numbers
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet: {error}") from None

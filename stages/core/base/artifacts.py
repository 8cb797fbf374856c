"""The table of artefacts: for each one its schema, its reader and its writer.

Parquet files have an explicit Arrow schema and carry ``{schema, version, provenance, ...}`` as
JSON under the metadata key ``cmit``. JSON files are checked against ``workflow/schemas`` when
written and when read, sorted, indented, floats rounded to 9 significant digits, so that people
can diff them. Weights are safetensors. Every writer replaces its target in one step.
"""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.base import edits
from stages.core.base.config import check, check_finite_numbers
from stages.core.base.errors import InputError
from stages.core.base.reading import Fields, as_object, check_finite, read_object, reading
from stages.core.base.writing import replacing

VERSION = 1
DIVERGED_ADVICE = "Nothing was written; look at the loss, and lower the learning rate."

IMAGE = pa.struct(
    [
        ("bytes", pa.binary()),
        ("path", pa.string()),
        ("orientation", pa.int8()),  # of EXIF (2 to 8), to be applied; null: pixels as stored
    ]
)
TURN = pa.struct([("question", pa.string()), ("answer", pa.string())])

DATA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("images", pa.list_(IMAGE)),
        ("turns", pa.list_(TURN)),  # question: human text, see data/markers.py
        ("references", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("box", pa.list_(pa.float64())),  # x1, y1, x2, y2 relative to width and height
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
FEATURES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("wording", pa.int32()),  # 0: as the row asks; from 1, other words for the same
        ("z", pa.list_(pa.float32())),
    ]
)
PROFILE = pa.schema(
    [
        ("tower", pa.string()),
        ("block", pa.int32()),
        ("slot", pa.string()),
        ("score", pa.float64()),  # Frobenius norm of the slot's weight gradient
        ("standard_error", pa.float64()),  # of the norm, from folds of the subset
        ("parameters", pa.int64()),
        ("n_samples", pa.int64()),
        ("mean_loss", pa.float64()),
    ]
)
ROUTES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("step", pa.int32()),
        ("experts", pa.list_(pa.string())),  # best first; empty = the backbone alone
        ("best_task", pa.string()),
        ("ratio", pa.float64()),  # lowest loss / threshold
        ("n_under", pa.int32()),  # routers with a loss at or under their threshold
    ]
)
PREDICTIONS = pa.schema(
    [("sample_id", pa.string()), ("experts", pa.list_(pa.string())), ("text", pa.string())]
)
SCORES = pa.schema(
    [
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("step", pa.int32()),
        ("task", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("n_unparsed", pa.int64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
SAMPLE_SCORES = pa.schema(
    [
        ("run", pa.string()),
        ("seed", pa.int64()),
        ("step", pa.int32()),
        ("task", pa.string()),
        ("sample_id", pa.string()),
        ("score", pa.float64()),  # percentage; CIDEr times 100
        ("parsed", pa.bool_()),
        ("experts", pa.list_(pa.string())),
    ]
)
TABLES = {
    "data": DATA,
    "features": FEATURES,
    "profile": PROFILE,
    "routes": ROUTES,
    "predictions": PREDICTIONS,
    "scores": SCORES,
    "sample_scores": SAMPLE_SCORES,
}


# --- Parquet -------------------------------------------------------------------------------


def _metadata(name: str, fields: dict[str, Any]) -> dict[str, str]:
    content = {"schema": name, "version": VERSION, **fields}
    return {"cmit": json.dumps(content, sort_keys=True, separators=(",", ":"))}


@contextmanager
def table_writer(name: str, path: Path, **fields: Any) -> Iterator[pq.ParquetWriter]:
    """Stream record batches of artefact ``name`` into ``path`` (bounded memory)."""
    described = TABLES[name].with_metadata(_metadata(name, fields))
    with replacing(path) as draft, pq.ParquetWriter(draft, described, compression="zstd") as writer:
        yield writer


def write_table(name: str, path: Path, rows: pa.Table | Iterable[dict], **fields: Any) -> None:
    """Write artefact ``name``; ``fields`` (task, method, provenance, ...) go to the metadata."""
    if not isinstance(rows, pa.Table):
        rows = pa.Table.from_pylist(list(rows), schema=TABLES[name])
    with table_writer(name, path, **fields) as writer:
        writer.write_table(rows.cast(TABLES[name]))


def metadata(path: Path) -> Fields:
    """What a Parquet artefact says of itself: schema, version, task, provenance, ...

    Raises:
        InputError: not an artefact; also when a key that it lacks is asked for.
    """
    with reading(path, "Parquet"):
        stored = pq.read_schema(path).metadata or {}
    if b"cmit" not in stored:
        raise InputError(f"{path}: not an artefact of this pipeline (no 'cmit' metadata).")
    with reading(path, "Parquet"):
        content = json.loads(stored[b"cmit"])
    return as_object(content, path)


def read_table(
    name: str, path: Path, columns: list[str] | None = None, rows: list[tuple] | None = None
) -> pa.Table:
    """Read artefact ``name``, or only some columns of it (images are large), or those of its rows
    that meet all conditions ``(column, "=" or "in", value)``.

    Raises:
        InputError: another artefact, another version, columns that do not fit, damaged content.
    """
    found = metadata(path)
    if (found["schema"], found["version"]) != (name, VERSION):
        raise InputError(
            f"{path}: expected {name!r} version {VERSION}, "
            f"found {found['schema']!r} version {found['version']}; make it again."
        )
    stored = pq.read_schema(path)
    if not stored.equals(TABLES[name]):
        raise InputError(f"{path}: columns {stored.names} do not fit artefact {name!r}.")
    with reading(path, "Parquet"):
        table = pq.read_table(path, columns=columns, filters=rows)
        table.validate(full=True)
    return table


def task_record(path: Path) -> Fields:
    """What a data artefact says of its task: name, kind, metric and limits of an answer.

    Raises:
        InputError: not a data artefact, or one without these.
    """
    found = metadata(path)
    if found["schema"] != "data":
        raise InputError(f"{path}: expected rows of a task ('data'), found {found['schema']!r}.")
    task = as_object(found["task"], path)
    _check_name(task["name"], path)
    return task


def task_of(path: Path) -> str:
    """The name of the task that a Parquet artefact is of.

    Raises:
        InputError: it names none.
    """
    found = metadata(path)
    name = task_record(path)["name"] if found["schema"] == "data" else found["task"]
    _check_name(name, path)
    return name


def _check_name(name: Any, path: Path) -> None:
    if not isinstance(name, str):
        raise InputError(f"{path}: the name of its task is {name!r}, expected text; make it again.")


# --- JSON ----------------------------------------------------------------------------------


def _rounded(value: Any) -> Any:
    """Floats to 9 significant digits, recursively; refuses NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"non-finite number in a JSON artefact: {value}")
        return float(f"{value:.9g}")
    return value


def write_json(name: str, path: Path, content: dict) -> None:
    """Write JSON artefact ``name`` after checking it against its schema; what people edit gets the
    hash of its content."""
    content = _rounded(content)
    if name in edits.EDITABLE:
        content = edits.sealed(content)
    check(content, name, str(path))
    with replacing(path) as draft:
        text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")


def read_json(name: str, path: Path) -> Fields:
    """Read JSON artefact ``name``; people edit these files, so faults name the key.

    Raises:
        InputError: missing file, broken JSON (with the line), or a schema violation.
    """
    content = read_object(path, "Correct it, or make it again.")
    check_finite_numbers(content, str(path))
    check(content, name, str(path))
    return content


# --- Weights -------------------------------------------------------------------------------


def write_weights(path: Path, tensors: dict, provenance: dict, **fields: str) -> None:
    """Write tensors as safetensors; provenance and short string fields go to the metadata.

    Raises:
        InputError: a number that is not finite.
    """
    from safetensors.torch import save_file

    check_finite(tensors, path, DIVERGED_ADVICE)
    notes = {"provenance": json.dumps(provenance, sort_keys=True), **fields}
    # One metadata key: safetensors writes several in no fixed order.
    with replacing(path) as draft:
        save_file(
            {key: tensor.contiguous() for key, tensor in sorted(tensors.items())},
            draft,
            metadata={"cmit": json.dumps(notes, sort_keys=True)},
        )

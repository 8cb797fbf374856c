"""Anything that Hugging Face ``datasets`` reads: a saved folder, data files, or the hub.

Local data are streamed, a hub data set (always a pinned revision) is downloaded once into the
library's cache. Images stay encoded. A source may name further files; :mod:`confined` keeps them
below the data root.
"""

import glob
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError, unknown
from stages.core.data.faults import RowError
from stages.core.data.readers import confined, containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
TEXTS = (".csv", ".json", ".jsonl")  # also with .gz; read by us, so that text stays as written


def rows(split: "Split") -> containers.Rows:
    """The rows of the split that ``split`` names (default, the split's own name).

    Raises :class:`InputError` if ``datasets`` cannot load the source, a column is missing, or a
    file of it lies outside the data root.
    """
    if split.hub:
        with _told(split):
            dataset = _from_hub(split)
        yield from _stored(split, dataset)
    elif split.file.is_file() and _suffix(split.file) in TEXTS:
        yield from _text(split, split.file)
    else:
        with _told(split):
            builder = _local(split)
        yield from _built(split, builder)


def _built(split: "Split", builder: Any) -> containers.Rows:
    """The rows of the files that the library has found."""
    name = _name(split)
    if confined.reader(builder) not in ("csv", "json"):
        with _told(split):
            dataset = builder.as_streaming_dataset(split=name)
        yield from _stored(split, dataset)
        return
    if name not in builder.config.data_files:
        raise unknown("split", name, builder.config.data_files, str(split.path))
    for file in builder.config.data_files[name]:
        yield from _text(split, Path(file))


def _text(split: "Split", file: Path) -> containers.Rows:
    """The rows of one CSV or JSON file; the next file counts where one breaks off."""
    columns = [column for column in split.fields.values() if column]
    try:
        if _suffix(file) == ".csv":
            yield from containers.table(file, columns)
        else:
            yield from containers.array_or_lines(file)
    except RowError as fault:
        yield str(file), fault


def _stored(split: "Split", dataset: Any) -> containers.Rows:
    """The rows of a data set of the library; images are not opened."""
    features, source = dataset.features or {}, _source(split)
    for column in filter(None, split.fields.values()):
        if features and column not in features:
            raise unknown("column", column, features, source)
    short = containers.short_floats(dataset.features.arrow_schema) if features else {}
    labels = _labels(features, but=split.fields.get("answer_index", "answer_index"))
    with _told(split):
        for number, row in enumerate(dataset.decode(False) if features else dataset, start=1):
            row |= {name: containers.shortest(row[name], kind) for name, kind in short.items()}
            row |= {name: _class_names(row[name], kind) for name, kind in labels.items()}
            yield f"{source}: row {number}", row


def _labels(features: Mapping[str, Any], but: str | None) -> dict[str, Any]:
    """The columns that hold class labels, but for the one of an option's number."""
    return {
        name: kind for name, kind in features.items() if "ClassLabel" in str(kind) and name != but
    }


def _class_names(value: Any, feature: Any) -> Any:
    """The names of class labels, in lists and structures too; a negative label is none."""
    from datasets import ClassLabel

    if isinstance(feature, ClassLabel):
        return feature.int2str(value) if value is not None and value >= 0 else None
    if isinstance(value, list):
        return [_class_names(item, feature.feature) for item in value]
    if isinstance(value, dict):
        return {name: _class_names(item, feature[name]) for name, item in value.items()}
    return value


def _suffix(file: Path) -> str:
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix


def _source(split: "Split") -> str:
    return str(split.path or (split.hub or {})["name"])


def _name(split: "Split") -> str:
    return split.selected or split.name


@contextmanager
def _told(split: "Split") -> Iterator[None]:
    """The library's errors as one of ours."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its own, its parsers' and the network's types
        problem = " ".join(str(error).split())
        raise InputError(
            f"{_source(split)}: datasets cannot load split {_name(split)!r}: {problem}"
        ) from None


def _from_hub(split: "Split") -> Any:
    from datasets import load_dataset_builder

    hub = split.hub or {}
    # With this prefix the library never takes a folder of the same name for the data set.
    builder = load_dataset_builder(
        f"hf://datasets/{hub['name']}", hub.get("config"), revision=hub["revision"]
    )
    confined.check_hub(hub, builder)
    builder.download_and_prepare()
    return builder.as_dataset(split=_name(split)).to_iterable_dataset()


def _local(split: "Split") -> Any:
    """The library's builder of a folder or file whose files are all allowed."""
    from datasets import load_dataset_builder

    name, path = _name(split), confined.below(split, split.file)
    if split.file.is_file():
        suffix = split.file.suffix
        if suffix not in BUILDERS:
            raise unknown("file type", suffix, [*BUILDERS, *TEXTS], str(split.path))
        builder = load_dataset_builder(BUILDERS[suffix], data_files={name: glob.escape(path)})
    elif saved := confined.saved_files(split, name):
        files = [glob.escape(file) for file in saved]
        builder = load_dataset_builder("arrow", data_files={name: files})
    else:
        confined.check_cards(split)
        builder = load_dataset_builder(path)
    confined.check_files(split, builder)
    return builder

"""Anything that Hugging Face ``datasets`` reads: a saved folder, data files, or the hub.

Local data are streamed, a hub data set (always a pinned revision) is downloaded once into the
library's cache. Images stay encoded. A source may name further files; :mod:`confined` keeps them
below the data root.
"""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError, unknown
from stages.core.data.readers import confined, containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "json",
    ".jsonl": "json",
}


def rows(split: "Split") -> containers.Rows:
    """The rows of the split that ``split`` names (default, the split's own name).

    Raises :class:`InputError` if ``datasets`` cannot load the source, a column is missing, or a
    file of it lies outside the data root.
    """
    if split.path and split.path.suffix == ".csv":
        yield from containers.table(split.file, [c for c in split.fields.values() if c])
        return
    source = split.path or (split.hub or {})["name"]
    with _told(split):
        dataset = _from_hub(split) if split.hub else _local(split)
        features = dataset.features or {}
        for column in filter(None, split.fields.values()):
            if features and column not in features:
                raise unknown("column", column, features, str(source))
        for number, row in enumerate(dataset.decode(False) if features else dataset, start=1):
            yield f"{source}: row {number}", row


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
        source, problem = split.path or (split.hub or {})["name"], " ".join(str(error).split())
        raise InputError(
            f"{source}: datasets cannot load split {_name(split)!r}: {problem}"
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
    from datasets import load_dataset_builder

    name, path = _name(split), confined.below(split, split.file)
    if split.file.is_file():
        builder = load_dataset_builder(_reader(split), data_files={name: glob.escape(path)})
    elif saved := confined.saved_files(split, name):
        files = [glob.escape(file) for file in saved]
        builder = load_dataset_builder("arrow", data_files={name: files})
    else:
        confined.check_cards(split)
        builder = load_dataset_builder(path)
    confined.check_files(split, builder)
    return builder.as_streaming_dataset(split=name)


def _reader(split: "Split") -> str:
    suffix = split.file.suffix
    if suffix not in BUILDERS:
        raise unknown("file type", suffix, [*BUILDERS, ".csv"], str(split.path))
    return BUILDERS[suffix]

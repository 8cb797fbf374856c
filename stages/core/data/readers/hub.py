"""Anything that Hugging Face ``datasets`` reads: a saved folder, data files, or the hub.

Local data are streamed, a hub data set (always a pinned revision) is downloaded once into the
library's cache. Images stay encoded.
"""

from typing import TYPE_CHECKING

from stages.core.base.errors import InputError, unknown
from stages.core.data.readers import containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

SAVED = ("dataset_info.json", "dataset_dict.json")  # left by Dataset.save_to_disk
BUILDERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "json",
    ".jsonl": "json",
}


def rows(split: "Split") -> containers.Rows:
    """The rows of the split that ``split`` names (default, the split's own name).

    Raises :class:`InputError` if ``datasets`` cannot load the source, or a column is missing.
    """
    from datasets import Image

    if split.path and split.path.suffix == ".csv":
        yield from containers.table(split.file, [c for c in split.fields.values() if c])
        return
    dataset = _load(split)
    features = dataset.features or {}
    for column in filter(None, split.fields.values()):
        if features and column not in features:
            raise unknown("column", column, features, f"{split.path or split.hub['name']}")
    for column, feature in features.items():
        if isinstance(feature, Image):
            dataset = dataset.cast_column(column, Image(decode=False))
    for number, row in enumerate(dataset, start=1):
        yield f"{split.path or split.hub['name']}: row {number}", row


def _load(split: "Split"):
    from datasets import load_dataset, load_from_disk

    name = split.selected or split.name
    try:
        if split.hub:
            hub = split.hub
            return load_dataset(
                hub["name"], hub.get("config"), revision=hub["revision"], split=name
            )
        if split.path.is_file():
            builder, files = BUILDERS.get(split.path.suffix), {name: str(split.path)}
            if builder is None:
                raise unknown("file type", split.path.suffix, [*BUILDERS, ".csv"], str(split.path))
            return load_dataset(builder, data_files=files, split=name, streaming=True)
        if any((split.path / mark).is_file() for mark in SAVED):
            loaded = load_from_disk(str(split.path))
            return loaded[name] if isinstance(loaded, dict) else loaded
        return load_dataset(str(split.path), split=name, streaming=True)
    except InputError:
        raise
    except Exception as error:  # the library raises its own, its parsers' and the network's types
        source = split.path or split.hub["name"]
        raise InputError(f"{source}: datasets cannot load split {name!r}: {error}") from None

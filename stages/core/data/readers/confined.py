"""What a source of ``datasets`` may read: files below the data root, or of its own hub repository.

A folder's card names patterns, a saved data set names its Arrow files, and either may hold links.
Patterns are checked before the library follows them, files once it has found them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError, unknown
from stages.core.base.yaml_files import read_yaml
from stages.core.data.readers import containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

CARD, PLAIN_CARD, INFOS = "README.md", ".huggingface.yaml", "dataset_infos.json"
READERS = ("arrow", "csv", "imagefolder", "json", "parquet", "text", "webdataset")


def below(split: "Split", path: str | Path) -> str:
    """The absolute path of a file or folder of the source.

    Raises :class:`InputError` for a URL, and for what does not lie below the data root.
    """
    text = str(path)
    url = "://" in text or "::" in text  # "::" chains file systems
    found = None if url else split.root.place(str(Path(text).absolute()))
    if found is None:
        raise InputError(
            f"{split.path}: names {text}, which is not below the data root {split.root.folder} "
            "(links followed). Move the data below the root, or allow the folder under "
            "'linked_roots'."
        )
    return str(found)


def check_files(split: "Split", builder: Any) -> None:
    """Refuse files outside the data root, and readers that open further files by themselves.

    Raises:
        InputError: such a file or reader.
    """
    if reader(builder) not in READERS:
        raise unknown("kind of data files", reader(builder), READERS, str(split.path))
    for file in _resolved(builder):
        below(split, file)


def reader(builder: Any) -> str:
    """The kind of files that a builder of the library reads."""
    return type(builder).__module__.rpartition(".")[2]


def check_hub(hub: dict[str, str], builder: Any) -> None:
    """Refuse another revision (the library's cache may hold one) and files of another place.

    Raises:
        InputError: such a revision or file.
    """
    if builder.hash != hub["revision"]:
        raise InputError(
            f"hub data set {hub['name']}: found revision {builder.hash}, not {hub['revision']}. "
            "Check the name; without a network, only what was read last is there."
        )
    own = f"hf://datasets/{hub['name']}@{hub['revision']}/"
    for file in _resolved(builder):
        if not file.startswith(own) or "::" in file or ".." in Path(file).parts:
            raise InputError(f"hub data set {hub['name']}: names {file}, which is not its own.")


def _resolved(builder: Any) -> list[str]:
    found = builder.config.data_files or {}
    return [str(file) for files in found.values() for file in files]


def check_cards(split: "Split") -> None:
    """Refuse patterns of a folder's cards that lead out of the folder, before they are tried.

    Raises:
        InputError: such a pattern.
    """
    from huggingface_hub import DatasetCard

    card, plain, infos = (split.file / name for name in (CARD, PLAIN_CARD, INFOS))
    contents: list[Any] = []
    for path in (card, plain, infos):
        if os.path.lexists(path):
            below(split, path)
    if card.is_file():
        contents.append(DatasetCard.load(card).data.to_dict())
    if plain.is_file():
        contents.append(read_yaml(plain))
    for pattern in _patterns(contents):
        if "://" in pattern or "::" in pattern or pattern[:1] in "/~" or ".." in pattern.split("/"):
            raise InputError(
                f"{split.path}: {CARD} names {pattern!r}; data files are named by paths below "
                "the folder, without '..' and URLs."
            )


def _patterns(contents: list[Any]) -> Iterator[str]:
    """The texts under ``data_files`` and ``data_dir`` of all configurations."""
    for content in contents:
        for config in (content.get("configs") if isinstance(content, dict) else None) or ():
            if isinstance(config, dict):
                yield from _texts([config.get("data_files"), config.get("data_dir")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def saved_files(split: "Split", name: str) -> list[str]:
    """The Arrow files of a folder that ``save_to_disk`` left; none if it is no such folder.

    Raises :class:`InputError` for an absent split, a damaged state, and files outside the root.
    """
    folder = split.file
    if os.path.lexists(folder / "dataset_dict.json"):
        known = _entries(split, folder / "dataset_dict.json", "splits")
        if name not in known:
            raise unknown("split", name, known, str(split.path))
        folder = folder / name
    elif not os.path.lexists(folder / "state.json"):
        return []
    entries = _entries(split, folder / "state.json", "_data_files")
    names = [
        str(entry["filename"])
        for entry in entries
        if isinstance(entry, dict) and "filename" in entry
    ]
    if not names or len(names) < len(entries):
        raise InputError(f"{folder / 'state.json'}: _data_files: expected the names of files.")
    files = [below(split, folder / name) for name in names]
    for file in files:
        if not Path(file).is_file():
            raise InputError(f"{folder / 'state.json'}: _data_files: {file} not found.")
    return files


def _entries(split: "Split", path: Path, key: str) -> list[Any]:
    content = containers.whole(Path(below(split, path)))
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{path}: {key}: expected a list, as save_to_disk writes it.")
    return found

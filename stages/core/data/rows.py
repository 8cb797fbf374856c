"""The checked rows of a split."""

from collections.abc import Iterator, Mapping

from stages.core.base.errors import InputError
from stages.core.data.faults import FaultList, RowError
from stages.core.data.manifests import Manifest, Split
from stages.core.data.readers import formats as readers
from stages.core.data.samples import Converter


def sound_rows(
    manifest: Manifest,
    split: Split,
    converter: Converter,
    chosen: set[int] | None = None,
    faults: FaultList | None = None,
) -> Iterator[dict]:
    """The split's rows (those at the positions ``chosen``), all checked.

    Raises :class:`InputError` at the end if there were faults, or no rows at all.
    """
    faults = FaultList() if faults is None else faults
    read = readers.reader(split)
    names: set[str] = set()
    seen, columns = False, list[str]()
    position = -1
    for position, (where, raw) in enumerate(readers.rows(split)):
        if chosen is not None and position not in chosen:
            continue
        if not columns and isinstance(raw, Mapping):
            columns = sorted(map(str, raw))
        try:
            record = read(raw)
            name = _name(record.id, split, position, names)
        except RowError as fault:
            faults.add(where, fault)
            continue
        row, found = converter.row(record, f"{split.name}/{name}")
        for other in found:
            faults.add(where, other)
        if row is not None:
            seen = seen or bool(row["images"])
            yield row
    what = f"{manifest.path}: {split.name}"
    if faults:
        raise faults.error(what)
    if names and not seen and split.fields.get("image", "") is not None:
        raise InputError(
            f"{what}: no row has an image. Columns found: {', '.join(columns) or 'none'}. Say "
            "under 'fields' which holds it (image: NAME), or that there is none (image: null)."
        )
    if position < 0:
        chosen_by = f" with split = {split.selected!r}" if split.selected else ""
        raise InputError(
            f"{what}: {split.path or (split.hub or {}).get('name')} has no rows{chosen_by}."
        )


def _name(found: str | None, split: Split, position: int, names: set[str]) -> str:
    """A row's name within its split: its own id, or its number, counted from 1."""
    if found is None:
        if split.fields.get("id"):
            raise RowError("missing id", f"no {split.fields['id']!r}")
        return f"row{position + 1}"
    if found in names:
        raise RowError("duplicate id", f"{found!r} again; 'fields: {{id: null}}' numbers the rows")
    names.add(found)
    return found

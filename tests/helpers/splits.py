"""A split of a manifest, without the manifest."""

from pathlib import Path
from typing import Any

from stages.core.data.manifests import DataRoot, Split


def split(path: Path | None, form: str, name: str = "train", **options: Any) -> Split:
    """A split of one file whose folder is the data root; ``options`` replace single fields."""
    given = {
        "annotations": None,
        "images": Path(path).parent if path else None,
        "root": DataRoot(Path(path).parent) if path else None,
        "fields": {},
        "selected": None,
        "rows": None,
        "hub": None,
        **options,
    }
    return Split(name=name, format=form, path=path, **given)

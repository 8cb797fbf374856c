"""Captions in COCO's layout: ``images`` (id, file_name or image) and ``annotations``."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.readers import containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split


def rows(split: "Split") -> containers.Rows:
    """Test: one row per image with all its captions. Train: one row per caption.

    Raises :class:`InputError` if the file as a whole is not of this layout.
    """
    content = containers.whole(split.file)
    images = _part(split, content, "images")
    annotations = _part(split, content, "annotations")
    if split.name == "train":
        yield from _by_caption(split, images, annotations)
    else:
        yield from _by_image(split, images, annotations)


def _part(split: "Split", content: Any, key: str) -> list:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{split.path}: {key}: expected a list, as in COCO's caption files.")
    return found


def _key(entry: Any, name: str) -> str | None:
    """An id as text: 7 and "7" are one."""
    found = entry.get(name) if isinstance(entry, dict) else None
    return str(found) if isinstance(found, str | int) else None


def _by_id(split: "Split", images: list) -> dict[str, dict]:
    """Images by id.

    Raises :class:`InputError` if an id comes twice, for then captions have two images.
    """
    found: dict[str, dict] = {}
    for i, image in enumerate(images):
        key = _key(image, "id")
        if key in found:
            raise InputError(f"{split.path}: images[{i}]: id {key} again; ids must differ.")
        if key is not None:
            found[key] = image
    return found


def _row(image: dict, identity: Any, captions: list) -> dict:
    return {
        "id": identity,
        "image": image.get("file_name") or image.get("image"),
        "captions": captions,
    }


def _by_image(split: "Split", images: list, annotations: list) -> containers.Rows:
    captions = defaultdict(list)
    for annotation in annotations:
        if isinstance(annotation, dict):
            captions[_key(annotation, "image_id")].append(annotation.get("caption"))
    known = _by_id(split, images)
    for i, image in enumerate(images):
        found = _key(image, "id")
        row = _row(image, found, captions[found]) if isinstance(image, dict) else image
        yield f"{split.path}: images[{i}]", row
    for i, annotation in enumerate(annotations):
        if _key(annotation, "image_id") not in known:
            yield f"{split.path}: annotations[{i}]", RowError("unknown image", "no such image_id")


def _by_caption(split: "Split", images: list, annotations: list) -> containers.Rows:
    by_id = _by_id(split, images)
    for i, annotation in enumerate(annotations):
        where = f"{split.path}: annotations[{i}]"
        image = by_id.get(_key(annotation, "image_id") or "")
        if not isinstance(image, dict):
            yield where, RowError("unknown image", "no such image_id")
        else:
            yield where, _row(image, annotation.get("id"), [annotation.get("caption")])

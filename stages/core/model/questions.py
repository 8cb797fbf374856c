"""A question about an image as a row of the data artefact: no manifest, no template, no answer."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.images import probe

Picture = str | Path | bytes | Image.Image

LOSSLESS = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # modes that a PNG keeps as they are


def question_row(
    image: Picture, question: str, name: str, max_pixels: int, *, exif: bool = True
) -> dict[str, Any]:
    """The row, called ``name``; the question goes in as it is, the image turned as its EXIF data
    say unless ``exif`` is off.

    Raises:
        InputError: no question, no image, or one that cannot be read.
    """
    if not isinstance(question, str) or not question.strip():
        raise InputError(f"question {name}: it is empty; ask something about the image.")
    try:
        question.encode()
        source = _source(image, name)
        place = source["bytes"] or source["path"]
        (width, height), orientation = probe(place, max_pixels, decode=True, exif=exif)
    except UnicodeEncodeError as error:
        raise InputError(f"question {name}: not UTF-8: {error.reason}.") from None
    except RowError as fault:
        raise InputError(f"question {name}: {fault.kind}: {fault}.") from None
    return {
        "sample_id": name,
        "images": [source | {"orientation": orientation}],
        "turns": [{"question": question, "answer": ""}],
        "references": [],
        "choices": None,
        "box": None,
        "width": width,
        "height": height,
    }


def _source(image: Picture, name: str) -> dict[str, Any]:
    if isinstance(image, Image.Image):
        return {"bytes": _encoded(image), "path": None}
    if isinstance(image, bytes) and image:
        return {"bytes": image, "path": None}
    if isinstance(image, str | Path) and str(image):
        return {"bytes": None, "path": str(image)}
    raise InputError(f"question {name}: no image; give a path, bytes or a PIL image.")


def _encoded(image: Image.Image) -> bytes:
    """The image as a PNG with its orientation, so that it is read as one from a file is."""
    if image.mode in ("I", "F"):
        raise RowError("unsupported image", f"pixel mode {image.mode!r}; give 8 bits a channel")
    stream, exif = BytesIO(), Image.Exif()
    try:
        image.load()  # which turns a TIFF, and then says so in its EXIF data
        exif[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image.mode not in LOSSLESS:
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.save(stream, "PNG", compress_level=1, exif=exif)
    except Exception as error:  # decoders raise many types on damaged data
        raise RowError("unreadable image", f"PIL image: {error}") from None
    return stream.getvalue()

"""Opening images that others made: size limit before decoding, truncation, orientation, RGB.

Only raster formats that Pillow decodes by itself are allowed. Formats that would start another
program (EPS) or are no pictures stay closed.
"""

import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from stages.core.data.faults import RowError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
TAIL = 64  # bytes at the end of a file in which its end mark must lie
EXIF_TAIL = 1 << 16  # bytes in which EXIF data behind a PNG file's pixels begin
WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey
TURNS = {  # EXIF orientation: from the pixels as they are stored to how they are meant
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
BACK = TURNS | {6: Transpose.ROTATE_90, 8: Transpose.ROTATE_270}
SIDEWAYS = (5, 6, 7, 8)  # width and height change places


class Header(NamedTuple):
    """Width and height of an image as it is used, and the EXIF orientation that is applied to its
    pixels (None: they are used as they are stored)."""

    size: tuple[int, int]
    orientation: int | None


def probe(
    source: bytes | str | Path,
    max_pixels: int | None = None,
    *,
    decode: bool = False,
    exif: bool = True,
) -> Header:
    """What the header says, after checking that the image is sound and small enough.

    An encoded image (bytes), or a file that does not end as its format demands, is decoded in
    full; any other file only if ``decode`` is set. Without ``exif`` no orientation is applied.
    Raises :class:`RowError` of kind "missing image", "unreadable image", "unsupported image",
    "image too large" or "truncated image".
    """
    with _opened(source, max_pixels) as (image, handle):
        size, orientation = image.size, _orientation(image, handle)
        if decode or isinstance(source, bytes) or not _ends_well(image.format, handle):
            _decode(image, source)
    turned_by_pillow = image.format == "TIFF"
    if orientation in SIDEWAYS and turned_by_pillow != exif:
        size = size[::-1]
    return Header(size, orientation if exif else None)


def open_rgb(image: Mapping, max_pixels: int | None = None) -> Image.Image:
    """A row's image, ``{bytes, path, orientation}``, as RGB; transparency is flattened on white.
    Raises as :func:`probe` does."""
    source = image["bytes"] or image["path"]
    orientation: int | None = image.get("orientation")
    with _opened(source, max_pixels) as (opened, handle):
        turned = _orientation(opened, handle) if opened.format == "TIFF" else None  # by Pillow
        _decode(opened, source)
        if opened.mode in WIDE_MODES:  # Pillow would clip every value above 255 to white
            opened = opened.point(lambda value: value * (1 / 256)).convert("L")
        if opened.has_transparency_data:  # what shows through is white, never a hidden colour
            shown = opened.convert("RGBA")
            opened = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        opened = opened.convert("RGB")
    if turned and not orientation:
        opened = opened.transpose(BACK[turned])
    elif orientation and not turned:
        opened = opened.transpose(TURNS[orientation])
    return opened


def _orientation(image: Image.Image, handle: IO[bytes]) -> int | None:
    """The EXIF orientation of an image that is not decoded yet; None where it is upright, or the
    EXIF data cannot be read."""
    in_front = {"exif", "Raw profile type exif"} & image.info.keys()
    if image.format == "PNG" and not in_front and b"eXIf" not in _tail(handle, EXIF_TAIL):
        return None  # Pillow would decode the image to be sure
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # parsers of headers raise many types on damaged data
        return None
    return found if found in TURNS else None


@contextmanager
def _opened(
    source: bytes | str | Path, max_pixels: int | None
) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    with _stream(source) as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
        try:
            image = Image.open(handle, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _fault("image too large", source, error) from None
        except UnidentifiedImageError:
            allowed = f"a broken header, or none of {', '.join(FORMATS)}"
            raise _fault("unsupported image", source, allowed) from None
        except Exception as error:  # parsers of headers raise many types on damaged data
            raise _fault("unreadable image", source, error) from None
        with image:
            _check_header(image, source, max_pixels)
            yield image, handle


def _check_header(image: Image.Image, source: bytes | str | Path, max_pixels: int | None) -> None:
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        found = f"{width} x {height} = {width * height} pixels"
        advice = f"allowed are {max_pixels} (max_pixels); shrink it or raise the limit"
        raise _fault("image too large", source, f"{found}, {advice}")
    if image.mode in ("I", "F"):
        raise _fault("unsupported image", source, f"pixel mode {image.mode!r}; save it with 8 bits")


def _fault(kind: str, source: bytes | str | Path, problem: object) -> RowError:
    name = "embedded image" if isinstance(source, bytes) else source
    return RowError(kind, f"{name}: {problem}")


def _stream(source: bytes | str | Path) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    path = Path(source)
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL character
        regular = False
    if not regular:
        raise _fault("missing image", source, "no such file")
    try:
        return path.open("rb")
    except OSError as error:
        raise _fault("unreadable image", source, error.strerror) from None


def _ends_well(image_format: str | None, handle: IO[bytes]) -> bool:
    """Whether the file has its format's end mark, so that it was not cut off."""
    tail = _tail(handle, TAIL)
    if image_format in ("JPEG", "MPO"):
        return b"\xff\xd9" in tail
    if image_format == "PNG":
        return b"IEND" in tail
    return image_format == "WEBP"  # which does not even open when it is cut off


def _tail(handle: IO[bytes], size: int) -> bytes:
    """The last bytes of a file, which stays where it is."""
    place = handle.tell()
    handle.seek(max(0, handle.seek(0, os.SEEK_END) - size))
    tail = handle.read()
    handle.seek(place)
    return tail


def _decode(image: Image.Image, source: bytes | str | Path) -> None:
    try:
        image.load()
    except Exception as error:  # decoders raise many types on damaged data
        raise _fault("truncated image", source, f"does not decode: {error}") from None

"""Opening images that others made: size limit before decoding, truncation, RGB.

Only raster formats that Pillow decodes by itself are allowed. Formats that would start another
program (EPS) or are not pictures stay closed.
"""

import os
import stat
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from stages.core.faults import RowError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
TAIL = 64  # bytes at the end of a file in which its end mark must lie
WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey


def probe(source: bytes | str | Path, max_pixels: int, *, decode: bool = False) -> tuple[int, int]:
    """Width and height from the header, after checking that the image is sound and small enough.

    An encoded image (bytes), or one whose file does not end as its format demands, is decoded
    in full; any other only if ``decode`` is set. Raises :class:`RowError` of kind "missing image",
    "unreadable image", "unsupported image", "image too large" or "truncated image".
    """
    with _opened(source, max_pixels) as (image, handle):
        size = image.size
        if decode or isinstance(source, bytes) or not _ends_well(image.format, handle):
            _decode(image)
        return size


def open_rgb(image: Mapping, max_pixels: int) -> Image.Image:
    """A row's image, ``{bytes, path}``, as RGB. Raises as :func:`probe` does."""
    with _opened(image["bytes"] or image["path"], max_pixels) as (opened, _):
        _decode(opened)
        if opened.mode in WIDE_MODES:  # Pillow would clip every value above 255 to white
            opened = opened.point(lambda value: value * (1 / 256)).convert("L")
        return opened.convert("RGB")


@contextmanager
def _opened(source: bytes | str | Path, max_pixels: int):
    with _stream(source) as handle, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
        try:
            image = Image.open(handle, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise RowError("image too large", f"{error}") from None
        except UnidentifiedImageError:
            raise RowError(
                "unsupported image", f"not one of {', '.join(FORMATS)}, or a broken header"
            ) from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise RowError("unreadable image", f"{error}") from None
        with image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise RowError(
                    "image too large",
                    f"{image.width} x {image.height} = {pixels} pixels, allowed are {max_pixels} "
                    "(max_pixels); shrink it or raise the limit",
                )
            if image.mode in ("I", "F"):
                raise RowError("unsupported image", f"mode {image.mode!r}; save it with 8 bits")
            yield image, handle


def _stream(source: bytes | str | Path) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        regular = stat.S_ISREG(Path(source).stat().st_mode)
    except (OSError, ValueError):
        regular = False
    if not regular:
        raise RowError("missing image", f"no such file: {source}")
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise RowError("unreadable image", f"{source}: {error.strerror}") from None


def _ends_well(image_format: str, handle: IO[bytes]) -> bool:
    """Whether the file has its format's end mark, so that it was not cut off."""
    end = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, end - TAIL))
    tail = handle.read()
    if image_format in ("JPEG", "MPO"):
        return b"\xff\xd9" in tail
    if image_format == "PNG":
        return b"IEND" in tail
    if image_format == "WEBP":
        handle.seek(4)
        return int.from_bytes(handle.read(4), "little") + 8 <= end
    return False


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # decoders raise many types on damaged data
        raise RowError("truncated image", f"does not decode: {error}") from None

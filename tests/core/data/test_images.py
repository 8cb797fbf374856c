"""Opening images that others made."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stages.core.data.faults import RowError
from stages.core.data.images import FORMATS, open_rgb, probe


def noise(size=(64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def fault_of(source, **options) -> str:
    with pytest.raises(RowError) as caught:
        probe(source, **options)
    return caught.value.kind


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_its_size_from_file_and_memory(form, tmp_path):
    data = encoded(noise(), form)
    (tmp_path / "image").write_bytes(data)
    assert probe(data) == probe(tmp_path / "image") == probe(str(tmp_path / "image"))
    assert probe(data) == ((64, 48), None)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_cut_off_image_is_found_without_decoding_every_image(form, share, tmp_path):
    data = encoded(noise(), form)
    (tmp_path / "image").write_bytes(data[: int(share * len(data))])
    kinds = {"truncated image", "unsupported image", "unreadable image"}
    assert fault_of(tmp_path / "image") in kinds
    assert fault_of(data[: int(share * len(data))]) in kinds


def test_a_file_with_bytes_behind_its_end_is_sound(tmp_path):
    (tmp_path / "image.jpg").write_bytes(encoded(noise(), "JPEG") + bytes(500))
    assert probe(tmp_path / "image.jpg").size == (64, 48)


def test_damage_in_the_middle_is_found_when_decoding(tmp_path):
    data = bytearray(encoded(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "image.png").write_bytes(data)
    assert probe(tmp_path / "image.png").size == (64, 48)
    assert fault_of(tmp_path / "image.png", decode=True) == "truncated image"


def test_the_pixel_limit_counts_before_any_pixel_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 12000, 10000, 8, 2, 0, 0, 0)  # and not one byte of pixels
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(RowError, match="120000000 pixels, allowed are 119999999") as caught:
        probe(tmp_path / "bomb.png", 119_999_999)
    assert caught.value.kind == "image too large"
    assert probe(tmp_path / "bomb.png", 120_000_000).size == (12000, 10000)


def test_beyond_the_decoders_own_limit_no_setting_helps(tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")
    assert fault_of(bomb, max_pixels=10**12) == "image too large"


def test_formats_that_start_programs_stay_closed():
    assert fault_of(encoded(noise(), "EPS")) == "unsupported image"
    assert fault_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "unsupported image"


@pytest.mark.parametrize("name", ["absent.png", ".", "a\0b.png", "x" * 300])
def test_what_is_no_file_is_a_missing_image(name, tmp_path):
    assert fault_of(f"{tmp_path}/{name}") == "missing image"


def test_the_message_names_the_file(tmp_path):
    with pytest.raises(RowError, match="here.png"):
        probe(tmp_path / "here.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_opens_as_rgb(mode):
    data = encoded(noise().convert(mode), "TIFF")
    image = open_rgb({"bytes": data, "path": None})
    assert (image.mode, image.size) == ("RGB", (64, 48))


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = Image.fromarray(np.array([[0, 256, 32768, 65535]], dtype=np.uint16))
    opened = open_rgb({"bytes": encoded(grey, "PNG"), "path": None})
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_referenced_image_opens_like_an_embedded_one(tmp_path):
    noise().save(tmp_path / "image.png")
    from_file = open_rgb({"bytes": None, "path": str(tmp_path / "image.png")})
    assert np.array_equal(np.asarray(from_file), np.asarray(noise()))


def painted(mode):
    """Left half opaque red, right half fully transparent over black; as a PNG's bytes."""
    image = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 2, 2))
    if mode == "P":
        image = image.quantize(colors=4)
    elif mode == "LA":
        image = image.convert("LA")
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_transparency_shows_white(mode):
    shown = open_rgb({"bytes": painted(mode), "path": None})
    assert shown.mode == "RGB"
    assert shown.getpixel((3, 1)) == (255, 255, 255)
    assert shown.getpixel((0, 0)) == ((76, 76, 76) if mode == "LA" else (255, 0, 0))


def test_half_transparent_is_half_way_to_white():
    stream = io.BytesIO()
    Image.new("RGBA", (1, 1), (0, 0, 0, 51)).save(stream, "PNG")
    shown = open_rgb({"bytes": stream.getvalue(), "path": None})
    assert shown.getpixel((0, 0)) == (204, 204, 204)  # 255 x (1 - 51 / 255)


# --- orientation ---

CORNER = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}
"""Where the first stored pixel is meant to be (right, bottom), by the EXIF standard."""


def corner(image: Image.Image) -> tuple[int, int]:
    """Which corner is red (right, bottom)."""
    right, bottom = image.width - 9, image.height - 9
    spots = {(0, 0): (8, 8), (1, 0): (right, 8), (0, 1): (8, bottom), (1, 1): (right, bottom)}
    (found,) = (at for at, spot in spots.items() if image.getpixel(spot)[0] > 128)
    return found


def photograph(form: str, orientation: int) -> bytes:
    """80 x 40 stored pixels, red in the first corner."""
    image, exif = Image.new("RGB", (80, 40)), Image.Exif()
    image.paste((255, 0, 0), (0, 0, 16, 16))
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", CORNER)
def test_orientation_is_applied_or_ignored(form, orientation, tmp_path):
    data = photograph(form, orientation)
    (tmp_path / "photo").write_bytes(data)
    meant = (40, 80) if orientation > 4 else (80, 40)
    for source in (data, tmp_path / "photo"):
        for decode in (False, True):
            header = probe(source, decode=decode)
            assert header == (meant, None if orientation == 1 else orientation)
            assert probe(source, decode=decode, exif=False) == ((80, 40), None)
    shown = open_rgb({"bytes": data, "path": None, "orientation": header.orientation})
    assert (shown.size, corner(shown)) == (meant, CORNER[orientation])
    stored = open_rgb({"bytes": data, "path": None, "orientation": None})
    assert (stored.size, corner(stored)) == ((80, 40), (0, 0))


@pytest.mark.parametrize("decode", [False, True])
def test_exif_data_behind_the_pixels_of_a_png_count(tmp_path, decode):
    plain, exif = encoded(noise(), "PNG"), Image.Exif()
    exif[0x0112] = 8
    end = plain.rindex(b"IEND") - 4
    late = plain[:end] + png_chunk(b"eXIf", exif.tobytes()[6:]) + plain[end:]
    (tmp_path / "late.png").write_bytes(late)
    assert probe(tmp_path / "late.png", decode=decode) == ((48, 64), 8)


def test_exif_data_that_cannot_be_read_turn_nothing():
    stream = io.BytesIO()
    noise().save(stream, "JPEG", exif=b"Exif\0\0broken")
    assert probe(stream.getvalue()) == ((64, 48), None)

"""A question about an image as a row: every kind of image, and what is refused."""

from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from stages.core.base.errors import InputError
from stages.core.data.images import open_rgb
from stages.core.model.questions import question_row

MANY = 10**6


def noise(mode: str) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (6, 8, 4), dtype=np.uint8)
    image = Image.fromarray(values, "RGBA")
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def row(image, question="What?", limit=MANY):
    return question_row(image, question, "7", limit)


def test_the_question_goes_in_as_it_was_written() -> None:
    made = row(noise("RGB"), "  a {question}\n<img> ")
    assert made["turns"] == [{"question": "  a {question}\n<img> ", "answer": ""}]
    assert (made["sample_id"], made["width"], made["height"]) == ("7", 8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_shows_what_pil_shows(mode: str) -> None:
    image = noise(mode)
    shown = np.asarray(open_rgb(row(image)["images"][0]))
    if mode in ("LA", "RGBA"):
        rgba = image.convert("RGBA")
        want = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    else:
        want = image.convert("RGB")
    assert np.array_equal(shown, np.asarray(want))


def test_a_path_bytes_and_an_image_show_the_same(tmp_path) -> None:
    image, file = noise("RGB"), tmp_path / "i.png"
    image.save(file)
    given = [image, file, str(file), file.read_bytes()]
    shown = [np.asarray(open_rgb(row(one)["images"][0])) for one in given]
    assert all(np.array_equal(one, np.asarray(image)) for one in shown)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("exif", [True, False])
def test_a_turned_photo_is_turned_however_it_is_given(tmp_path, orientation, form, exif) -> None:
    tags, file = Image.Exif(), tmp_path / "i"
    tags[ExifTags.Base.Orientation] = orientation
    noise("RGB").save(file, form, exif=tags, **({"lossless": True} if form == "WEBP" else {}))
    want = ImageOps.exif_transpose(Image.open(file)) if exif else noise("RGB")
    for given in (file, file.read_bytes(), Image.open(file)):
        if form == "TIFF" and not exif and isinstance(given, Image.Image):
            continue  # Pillow has turned it, and says no longer from where
        made = question_row(given, "What?", "7", MANY, exif=exif)
        assert np.array_equal(np.asarray(open_rgb(made["images"][0])), np.asarray(want))
        assert (made["width"], made["height"]) == want.size


def cut_off() -> bytes:
    stream = BytesIO()
    noise("RGB").save(stream, "PNG")
    return stream.getvalue()[:-30]


@pytest.mark.parametrize(
    ("image", "question", "told"),
    [
        (None, "What?", "question 7: no image; give a path, bytes or a PIL image"),
        ("", "What?", "question 7: no image"),
        (b"", "What?", "question 7: no image"),
        (3, "What?", "question 7: no image"),
        ("nowhere.png", "What?", "question 7: missing image: nowhere.png: no such file"),
        (b"no picture", "What?", "unsupported image: embedded image: a broken header"),
        (cut_off(), "What?", "truncated image"),
        (Image.open(BytesIO(cut_off())), "What?", "unreadable image: PIL image: "),
        (noise("L").convert("F"), "What?", "unsupported image: pixel mode 'F'"),
        (noise("RGB"), "", "question 7: it is empty"),
        (noise("RGB"), " \n", "question 7: it is empty"),
        (noise("RGB"), None, "question 7: it is empty"),
        (noise("RGB"), "half \ud800", "question 7: not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_refused(image, question, told) -> None:
    with pytest.raises(InputError) as raised:
        row(image, question)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_too_many_pixels() -> None:
    with pytest.raises(InputError, match="image too large: .*8 x 6 = 48 pixels"):
        row(noise("RGB"), limit=47)

"""Images and text of Gemma 3, LLaVA-OneVision and Qwen3-VL, as their own processors make them."""

import io

import pytest
import torch
from PIL import Image

from stages.core.backbone.load import load_backbone
from stages.core.base.errors import InputError
from tests.conftest import make_row
from tests.helpers.tiny_families import CLIP_MEAN, CLIP_STD, GRIDS, QWEN3_LIMITS, write_backbone

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 4}
SIZES = [(28, 28), (50, 40), (33, 120), (200, 60), (20, 15), (300, 290)]
NORMS = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}


@pytest.fixture(scope="module")
def prompters(tmp_path_factory):
    root = tmp_path_factory.mktemp("newer")
    names = ("gemma3", "llava_onevision", "qwen3_vl")
    for name in names:
        write_backbone(name, root / name)
    return {name: load_backbone(root / name, SETTINGS).prompter for name in names}


@pytest.fixture(params=SIZES, ids=str)
def row(request):
    return make_row(SIZES.index(request.param), "What?", "That.", request.param)


def opened(row):
    return [Image.open(io.BytesIO(image["bytes"])) for image in row["images"]]


def test_gemma_images_are_those_of_its_image_processor(prompters, row):
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    library = Gemma3ImageProcessorPil(size={"height": 56, "width": 56}, **NORMS)
    expected = library(opened(row), return_tensors="pt")["pixel_values"]
    images = prompters["gemma3"].images
    found = images.normalised(prompters["gemma3"].pixel_values(row))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_qwen3_images_are_those_of_its_image_processor(prompters, row):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    limits = {"shortest_edge": QWEN3_LIMITS[0], "longest_edge": QWEN3_LIMITS[1]}
    library = Qwen2VLImageProcessorPil(size=limits, patch_size=16, **NORMS)
    expected = library(opened(row), return_tensors="pt")
    prompter = prompters["qwen3_vl"]
    found = prompter.collate([prompter.training_example(row)])
    assert torch.equal(found["image_grid_thw"], expected["image_grid_thw"])
    pixels = prompter.images.normalised(found["pixel_values"])
    torch.testing.assert_close(pixels, expected["pixel_values"], atol=1e-5, rtol=0)
    tokens = int(expected["image_grid_thw"].prod()) // 4
    assert int(found["mm_token_type_ids"].sum()) == tokens


def onevision():
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    size = {"height": 28, "width": 28}
    return LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=GRIDS, **NORMS)


def test_onevision_images_are_those_of_its_image_processor(prompters, row):
    expected = onevision()(opened(row), return_tensors="pt")
    prompter = prompters["llava_onevision"]
    found = prompter.collate([prompter.training_example(row)])
    assert torch.equal(found["image_sizes"], expected["image_sizes"])
    pixels = prompter.images.normalised(found["pixel_values"])
    torch.testing.assert_close(pixels, expected["pixel_values"][0], atol=1e-5, rtol=0)


def test_several_onevision_images_are_padded_squares(prompters, row):
    other = make_row(9, "And?", "This.", (30, 70))
    row = row | {"images": row["images"] + other["images"], "width": None, "height": None}
    expected = onevision()([opened(row)], return_tensors="pt")
    prompter = prompters["llava_onevision"]
    found = prompter.collate([prompter.training_example(row)])
    assert found["batch_num_images"].tolist() == expected["batch_num_images"].tolist() == [2]
    pixels = prompter.images.normalised(found["pixel_values"])
    torch.testing.assert_close(pixels, expected["pixel_values"].flatten(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "squares", "tokens"),
    [
        # squares of 2 x 2 tokens, the whole image's first; a limit of 2 squares, 8 tokens
        ((56, 28), 3, 4 + 2 * 5),
        ((56, 56), 5, 4 + 2 * 3),  # 16 tokens: each side / 1.41, 2.8 is 2
        ((100, 400), 4, 4 + 4 * 2),  # 6 x 2 tokens: each side / 1.22, 4 x 1
    ],
)
def test_onevision_counts_tokens(prompters, size, squares, tokens):
    images = prompters["llava_onevision"].images
    count = images.tile_count(*size)
    assert count[0] == squares
    assert images.marks(count) == "<image>" * tokens


TURNS = [{"question": "Q1?", "answer": "A1"}, {"question": "Q2?", "answer": "A2"}]
GEMMA_TEXT = (
    "<bos><start_of_turn>user\n\n\n<start_of_image><image_soft_token><image_soft_token>"
    "<image_soft_token><image_soft_token><end_of_image>\n\nQ1?<end_of_turn>\n"
    "<start_of_turn>model\nA1<end_of_turn>\n<start_of_turn>user\nQ2?<end_of_turn>\n"
    "<start_of_turn>model\nA2<end_of_turn>\n"
)
ONEVISION_TEXT = (
    "<|im_start|>user <image><image><image><image><image>\nQ1?<|im_end|><|im_start|>assistant\n"
    "A1<|im_end|><|im_start|>user \nQ2?<|im_end|><|im_start|>assistant\nA2<|im_end|>"
)


@pytest.mark.parametrize(
    ("family", "tiles", "text", "end"),
    [
        ("gemma3", 1, GEMMA_TEXT, "<end_of_turn>"),
        ("llava_onevision", (1, 0, 0), ONEVISION_TEXT, "<|im_end|>"),
    ],
)
def test_conversations(prompters, family, tiles, text, end):
    prompter = prompters[family]
    ids, labels = prompter.conversation(TURNS, [tiles])
    assert prompter.tokenizer.decode(ids) == text
    assert prompter.tokenizer.decode([t for t in labels if t >= 0]) == f"A1{end}A2{end}"


def test_gemma_takes_its_own_image_size_only(tmp_path):
    write_backbone("gemma3", tmp_path / "gemma3")
    with pytest.raises(InputError, match=r"image_size 28.*takes 56 only"):
        load_backbone(tmp_path / "gemma3", SETTINGS | {"image_size": 28})

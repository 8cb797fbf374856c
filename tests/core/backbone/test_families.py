"""Families other than InternVL: images, text, features, profile, training, answers."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from stages.core.backbone.families import registry as families
from stages.core.backbone.features import extract_features
from stages.core.backbone.load import load_backbone
from stages.core.backbone.losses import sample_losses
from stages.core.backbone.parts import Parts
from stages.core.backbone.prompts import IGNORE
from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.data.readers.record import from_mapping
from stages.core.dmole.gradients import profile_gradients
from stages.core.experts.job import Job
from stages.core.experts.lora import ExpertModel
from stages.methods import registry as methods
from stages.predict import predict
from stages.train_expert import train_expert
from tests.conftest import make_row
from tests.helpers.tiny_families import CLIP_MEAN, CLIP_STD, GRIDS, LIMITS, MAKERS, write_backbone

SETTINGS = {"dtype": "float32", "image_size": None, "max_tiles": 4}
SIZES = [(28, 28), (50, 40), (33, 120), (200, 60), (20, 15), (300, 290)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    for family in MAKERS:
        write_backbone(family, root / family)
    return root


@pytest.fixture(params=MAKERS)
def folder(request, folders):
    return folders / request.param


@pytest.fixture
def rows():
    """Images of several shapes, a row with two, one without."""
    rows = [make_row(i, "What? " * (1 + i % 3), f"thing {i}", size) for i, size in enumerate(SIZES)]
    rows[1]["images"] += rows[2]["images"]
    rows[1] |= {"width": None, "height": None}
    rows[4] |= {"images": [], "width": None, "height": None}
    return rows


def opened(row):
    return [Image.open(io.BytesIO(image["bytes"])) for image in row["images"]]


# --- images ---------------------------------------------------------------------------------


def test_llava_images_are_those_of_its_image_processor(folders, rows):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    library = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    prompter = load_backbone(folders / "llava", SETTINGS).prompter
    for row in rows:
        if row["images"]:
            expected = library(opened(row), return_tensors="pt")["pixel_values"]
            found = prompter.images.normalised(prompter.pixel_values(row))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_qwen_images_are_those_of_its_image_processor(folders, rows):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    library = Qwen2VLImageProcessorPil(**LIMITS, image_mean=CLIP_MEAN, image_std=CLIP_STD)
    prompter = load_backbone(folders / "qwen2_vl", SETTINGS).prompter
    for row in rows:
        if row["images"]:
            expected = library(opened(row), return_tensors="pt")
            found = prompter.collate([prompter.training_example(row)])
            assert torch.equal(found["image_grid_thw"], expected["image_grid_thw"])
            pixels = prompter.images.normalised(found["pixel_values"])
            torch.testing.assert_close(pixels, expected["pixel_values"], atol=1e-5, rtol=0)
            tokens = expected["image_grid_thw"].prod(dim=1) // 4
            assert prompter.tile_counts(row) == tokens.tolist()
            assert int(found["mm_token_type_ids"].sum()) == int(tokens.sum())


@pytest.mark.parametrize(("max_tiles", "longest"), [(16, 4), (1, 1)])
@pytest.mark.parametrize("name", ["smolvlm", "idefics3"])
def test_smolvlm_images_are_those_of_its_image_processor(folders, rows, name, max_tiles, longest):
    from transformers.models.idefics3 import image_processing_pil_idefics3 as idefics3
    from transformers.models.smolvlm import image_processing_pil_smolvlm as smolvlm
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    maker = {
        "idefics3": idefics3.Idefics3ImageProcessorPil,
        "smolvlm": smolvlm.SmolVLMImageProcessorPil,
    }[name]
    library = maker(
        size={"longest_edge": longest * 28},
        max_image_size={"longest_edge": 28},
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )
    prompter = load_backbone(folders / "smolvlm", SETTINGS | {"max_tiles": max_tiles}).prompter
    for row in [rows[0], *rows[2:4], rows[5]]:  # one image each
        expected = library(opened(row), return_tensors="pt", return_row_col_info=True)
        found = prompter.images.normalised(prompter.pixel_values(row))
        torch.testing.assert_close(found, expected["pixel_values"][0], atol=1e-5, rtol=0)
        grid = expected["rows"][0][0], expected["cols"][0][0]
        marks = get_image_prompt_string(
            *grid, 1, "<fake_token_around_image>", "<image>", "<global-img>"
        )
        assert prompter.images.marks(prompter.tile_counts(row)[0]) == marks


def test_smolvlm_has_at_most_max_tiles(folders):
    images = load_backbone(folders / "smolvlm", SETTINGS).prompter.images
    # four tiles: 4 x 2 would be 8, 3 x 2 six; two tiles wide, half as high: 2 x 1
    assert images.tile_count(200, 100) == (2, 1)
    assert images.tile_count(100, 400) == (1, 4)
    assert images.tile_count(50, 50) == (2, 2)


@pytest.mark.parametrize(("max_tiles", "grids"), [(4, GRIDS), (2, GRIDS[:2]), (1, [[28, 28]])])
def test_llava_next_images_are_those_of_its_image_processor(folders, rows, max_tiles, grids):
    from transformers.models.llava_next import image_processing_pil_llava_next as next_processing

    library = next_processing.LlavaNextImageProcessorPil(
        size={"shortest_edge": 28},
        crop_size={"height": 28, "width": 28},
        image_grid_pinpoints=grids,
    )
    prompter = load_backbone(folders / "llava_next", SETTINGS | {"max_tiles": max_tiles}).prompter
    for row in rows:
        if row["images"]:
            expected = library(opened(row), return_tensors="pt")
            found = prompter.collate([prompter.training_example(row)])
            assert torch.equal(found["image_sizes"], expected["image_sizes"])
            wanted = [image[image.flatten(1).any(1)] for image in expected["pixel_values"]]
            pixels = prompter.images.normalised(found["pixel_values"])
            torch.testing.assert_close(pixels, torch.cat(wanted), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("size", "squares", "tokens"),
    [
        # a square has 2 x 2 tokens; behind them the grid's lines, each with a token for its end
        ((56, 56), 5, 4 + 4 * 5),
        ((112, 56), 3, 4 + 2 * 5),
        ((100, 400), 4, 4 + 6 * 3),  # one column of three squares; its 1.5 columns stay two
        ((56, 28), 3, 4 + 2 * 5),
        ((200, 60), 4, 4 + 2 * 7),  # three squares in a line keep most of it
        ((200, 20), 4, 4),  # not one of its two lines is filled, so both count as padding
    ],
)
def test_llava_next_counts_tokens(folders, size, squares, tokens):
    images = load_backbone(folders / "llava_next", SETTINGS).prompter.images
    count = images.tile_count(*size)
    assert count[0] == squares
    assert images.marks(count) == "<image>" * tokens


def test_image_size_caps_the_area_of_a_qwen_image(folders, rows):
    prompter = load_backbone(folders / "qwen2_vl", SETTINGS | {"image_size": 84}).prompter
    assert [prompter.tile_counts(row) for row in rows[:4]] == [[4], [6, 4], [4], [5]]
    with pytest.raises(InputError, match="image_size: must be at least 28"):
        load_backbone(folders / "qwen2_vl", SETTINGS | {"image_size": 14})


def test_llava_takes_its_own_image_size_only(folders):
    with pytest.raises(InputError, match=r"image_size 56.*takes 28 only"):
        load_backbone(folders / "llava", SETTINGS | {"image_size": 56})


def test_an_unknown_family_is_answered_with_the_list(folders):
    from types import SimpleNamespace

    config = SimpleNamespace(model_type="llava_nexxt")
    with pytest.raises(InputError, match=r"'llava_nexxt'. Did you mean 'llava_next'"):
        families.load(folders / "llava", config, SETTINGS)


# --- text -----------------------------------------------------------------------------------

TURNS = [{"question": "Q1?", "answer": "A1"}, {"question": "Q2?", "answer": "A2"}]
LLAVA_TEXT = (
    "<s>A chat between a curious user and an artificial intelligence assistant. The assistant "
    "gives helpful, detailed, and polite answers to the user's questions. "
    "USER: <image><image><image><image>\nQ1? ASSISTANT:A1</s>USER: Q2? ASSISTANT:A2</s>"
)
NEXT_TEXT = f"<s>[INST] {'<image>' * 6}\nQ1? [/INST] A1</s>[INST] Q2? [/INST] A2</s>"
QWEN_TEXT = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|image_pad|><|vision_end|>Q1?<|im_end|>\n"
    "<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nQ2?<|im_end|>\n"
    "<|im_start|>assistant\nA2<|im_end|>\n"
)


SMOLVLM_TEXT = (
    "<|im_start|>User:<fake_token_around_image><row_1_col_1><image><fake_token_around_image>"
    "<row_1_col_2><image>\n\n<fake_token_around_image><global-img><image>"
    "<fake_token_around_image>Q1?<end_of_utterance>\nAssistant: A1<end_of_utterance>\n"
    "User: Q2?<end_of_utterance>\nAssistant: A2<end_of_utterance>\n"
)


@pytest.mark.parametrize(
    ("family", "tiles", "text", "answers"),
    [
        ("smolvlm", (2, 1), SMOLVLM_TEXT, " A1<end_of_utterance> A2<end_of_utterance>"),
        ("llava", 1, LLAVA_TEXT, "A1</s>A2</s>"),
        ("llava_next", (2, 1, 1), NEXT_TEXT, " A1</s> A2</s>"),
        ("qwen2_vl", 2, QWEN_TEXT, "A1<|im_end|>A2<|im_end|>"),
    ],
)
def test_conversations(folders, family, tiles, text, answers):
    prompter = load_backbone(folders / family, SETTINGS).prompter
    ids, labels = prompter.conversation(TURNS, [tiles])
    assert prompter.tokenizer.decode(ids) == text
    assert prompter.tokenizer.decode([t for t in labels if t != IGNORE]) == answers
    prompt = prompter.prompt(TURNS, [tiles])
    assert ids[: len(prompt)] == prompt


def line_of_two(line):
    """SmolVLM's text for two tiles of a line, written out."""
    edge = "<fake_token_around_image>"
    return f"{edge}<row_{line}_col_1><image>{edge}<row_{line}_col_2><image>\n"


GLOBAL = "\n<fake_token_around_image><global-img><image><fake_token_around_image>"
INTERN = ("<img>" + "<IMG_CONTEXT>" * 5 + "</img>", "<img>" + "<IMG_CONTEXT>" * 3 + "</img>")
QWEN = (
    "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>",
    "<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>",
)
GEMMA = "\n\n<start_of_image>" + "<image_soft_token>" * 4 + "<end_of_image>\n\n"
PLACED = {  # what stands for an image of 56 x 56 and for one of 56 x 28
    "gemma3": (GEMMA, GEMMA),
    "internvl2_5": INTERN,
    "internvl3": INTERN,
    "internvl3_5": INTERN,
    "llava": ("<image>" * 4, "<image>" * 4),
    "llava_next": ("<image>" * 24, "<image>" * 14),
    "llava_onevision": ("<image>" * 5, "<image>" * 5),  # of several images each is one square
    "qwen2_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "smolvlm": (line_of_two(1) + line_of_two(2) + GLOBAL, line_of_two(1) + GLOBAL),
}


@pytest.mark.parametrize(
    "texts",
    [
        ("A <image> B <image> C",),
        ("<image>\nA <image>",),
        ("A <image>", "B", "<image> C"),
        ("A", "B <image><image>\nC"),
    ],
)
def test_images_stand_at_their_markers(folder, texts):
    said = [(text, f"yes {i}") for i, text in enumerate(texts)]
    talk = []
    for asked, answer in said:
        talk += [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    columns = {"conversations": "conversations", "image": "image"}
    record = from_mapping({"conversations": talk, "image": ["a", "b"]}, columns)
    first, second = make_row(0, "", "", (56, 56)), make_row(1, "", "", (56, 28))
    row = first | {"images": first["images"] + second["images"], "width": None, "height": None}
    row["turns"] = [{"question": asked, "answer": answer} for asked, answer in record.turns]
    backbone = load_backbone(folder, SETTINGS)
    prompter = backbone.prompter
    example = prompter.training_example(row)
    text, at = prompter.tokenizer.decode(example["input_ids"]), 0
    images = iter(PLACED[folder.name])
    for asked, answer in said:
        parts = asked.split("<image>")
        expected = parts[0] + "".join(next(images) + part for part in parts[1:])
        assert expected in text[at:]
        at = text.index(answer, text.index(expected, at))
    prompt = prompter.generation_example(row)["input_ids"]
    assert example["input_ids"][: len(prompt)] == prompt
    with torch.no_grad():
        assert sample_losses(backbone.model, prompter.collate([example])).isfinite().all()


# --- profile, training, answers, features -----------------------------------------------------


def test_features_of_a_batch_are_those_of_single_samples(folder, rows):
    backbone = load_backbone(folder, SETTINGS)
    together = extract_features(backbone, rows, normalize=False, batch_size=4)
    width = backbone.prompter.images.vision_width
    assert np.all(together[4, :width] == 0)
    assert not np.allclose(together[0], together[1])
    for i, row in enumerate(rows):
        alone = extract_features(backbone, [row], normalize=False, batch_size=1)
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-4, atol=1e-4)


def test_padding_does_not_change_a_loss(folder, rows):
    """A batch of rows with different images gives the losses of its rows alone."""
    backbone = load_backbone(folder, SETTINGS)

    def losses(part):
        batch = backbone.prompter.collate([backbone.prompter.training_example(r) for r in part])
        return sample_losses(backbone.model, backbone.to_device(batch))

    with torch.no_grad():
        together, alone = losses(rows), [losses([row]) for row in rows]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_profile(folder, rows):
    backbone = load_backbone(folder, SETTINGS)
    scores = profile_gradients(backbone, rows, loss="sample_mean", include_bias=False, batch_size=2)
    # the last vision block of these feeds nothing
    unused = 2 if folder.name in ("llava", "llava_next") else 0
    assert sum(row["score"] == 0 for row in scores) == unused
    assert [row["tower"] for row in scores].count("vision") == (6 if unused else 4)
    assert [row["tower"] for row in scores].count("llm") == 4


USED = {
    "expert": {"rank": 4, "alpha": 8, "qkv": "split", "dropout": 0.0},
    "budget": {"ratio": 0.5},
    "method_options": {},
    "backbone": SETTINGS,
    "training": {
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "warmup_ratio": 0.03,
        "max_grad_norm": 1.0,
        "epochs": 6,
        "batch_size": 6,
        "micro_batch_size": 3,
        "activation_checkpointing": "auto",
        "checkpoint_steps": 10,
        "prompt_variants": False,
        "per_task": {},
    },
}
TASK = {"name": "t", "kind": "open_vqa", "metric": "accuracy"}
ANSWER = {"max_new_tokens": 6, "min_new_tokens": 0}


def plain_answer(folder, state, row):
    """One sample without cache and padding: argmax of a whole forward pass per token."""
    backbone = load_backbone(folder, SETTINGS)
    model = ExpertModel(backbone)
    model.load("t", state)
    prompter, answer = backbone.prompter, []
    example = prompter.generation_example(row)
    prompt = example["input_ids"]
    with model.using(["t"]) as active, torch.no_grad():
        while len(answer) < ANSWER["max_new_tokens"]:
            batch = prompter.collate([example | {"input_ids": prompt + answer}])
            del batch["sample_id"]
            batch = backbone.to_device(batch)
            answer.append(int(active(**batch).logits[0, -1].argmax()))
            if answer[-1] == prompter.tokenizer.eos_token_id:
                break
    return prompter.tokenizer.decode(answer, skip_special_tokens=True).strip()


def test_an_expert_learns_and_answers(folder, rows, tmp_path):
    """Train an expert in both towers; batched answers equal those made one token at a time."""
    data, state = tmp_path / "rows.parquet", tmp_path / "t"
    task = TASK | {"max_new_tokens": 6, "min_new_tokens": 0}
    artifacts.write_table("data", data, rows, task=task, provenance={})
    backbone = load_backbone(folder, SETTINGS)
    slots = [{"tower": m, "block": 0, "slot": "qkv", "allocated": True} for m in ("vision", "llm")]
    summary = train_expert(
        methods.load("dmole"),
        backbone,
        {"t": data},
        {},
        Job("t", ["t"], USED, backbone.slots, {"slots": slots}, None),
        checkpoints=tmp_path / "checkpoints",
        fingerprint={"run": 1},
        out=state,
    )
    losses = [loss for _, loss in summary["loss"]]
    assert losses[-1] < losses[0]
    by_id = {row["sample_id"]: row for row in rows}
    found = predict(
        methods.load("dmole"),
        load_backbone(folder, SETTINGS),
        by_id,
        {("t",): list(by_id)},
        {"t": state},
        Parts(tmp_path / "predictions.parquet", {}),
        limits=ANSWER,
        batch_size=4,
    )
    wanted = {name: plain_answer(folder, state, row) for name, row in by_id.items()}
    assert {answer["sample_id"]: answer["text"] for answer in found} == wanted
    assert len(set(wanted.values())) > 1

"""Token sequences, labels and padding."""

from stages.core.backbone.prompts import IGNORE
from tests.conftest import make_row


def test_a_conversation_is_the_template_and_labels_are_the_answers(tiny):
    prompter, tokenizer = tiny.prompter, tiny.prompter.tokenizer
    turns = [{"question": "Q1?", "answer": "A1"}, {"question": "Q2?", "answer": "A2"}]
    ids, labels = prompter.conversation(turns, [1])
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\n<img><IMG_CONTEXT></img>\nQ1?<|im_end|>\n"
        "<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2?<|im_end|>\n<|im_start|>assistant\nA2<|im_end|>\n"
    )
    assert tokenizer.decode([t for t in labels if t != IGNORE]) == "A1<|im_end|>A2<|im_end|>"
    assert all(label in (IGNORE, token) for token, label in zip(ids, labels, strict=True))


def test_generation_starts_from_a_prefix_of_training(tiny):
    turns = [{"question": "Q1?", "answer": "A1"}, {"question": "Q2?", "answer": "A2"}]
    for part in (turns[:1], turns):
        ids, _ = tiny.prompter.conversation(part, [1])
        prompt = tiny.prompter.prompt(part, [1])
        assert ids[: len(prompt)] == prompt
        assert (
            tiny.prompter.tokenizer.decode(ids[len(prompt) :])
            == f"{part[-1]['answer']}<|im_end|>\n"
        )


def test_image_tokens_follow_the_tiles(tiny):
    ids, _ = tiny.prompter.conversation([{"question": "Q", "answer": "A"}], [3, 1])
    assert ids.count(tiny.model.config.image_token_id) == 4 * tiny.prompter.images.tokens_per_tile


def test_padding_sides(tiny):
    short, long = make_row(0, "Q", "A"), make_row(1, "Longer question", "A")
    encode = tiny.prompter.training_example
    right = tiny.prompter.collate([encode(short), encode(long)])
    left = tiny.prompter.collate([encode(short), encode(long)], side="left")
    fill = len("Longer question") - len("Q")
    assert right["attention_mask"][0].tolist()[-fill:] == [0] * fill
    assert left["attention_mask"][0].tolist()[:fill] == [0] * fill
    assert right["labels"][0].tolist()[-fill:] == [IGNORE] * fill
    assert right["pixel_values"].shape == (2, 3, 28, 28)


def test_a_text_only_row_has_no_pixels(tiny):
    row = make_row(0, "Q", "A") | {"images": [], "width": None, "height": None}
    example = tiny.prompter.training_example(row)
    assert example["pixel_values"] is None
    assert tiny.model.config.image_token_id not in example["input_ids"]
    assert "pixel_values" not in tiny.prompter.collate([example])

"""Token sequences, labels and padding."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.backbone.decoding import generate
from stages.core.backbone.losses import token_losses
from stages.core.backbone.prompts import IGNORE
from stages.core.base.errors import InputError
from stages.core.data.markers import PLACE
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


@pytest.mark.parametrize(("places", "images"), [(1, 2), (2, 1), (1, 0)])
def test_another_number_of_places_than_images_is_an_error(tiny, places, images):
    with pytest.raises(InputError, match=f"places for {places} images, the row {images}"):
        tiny.prompter.conversation(
            [{"question": "a" + PLACE * places, "answer": "b"}], [1] * images
        )


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufdd0"), max_size=8)
SPELT = TEXT | st.sampled_from(["<IMG_CONTEXT>", "<img>", "</img>", "<|im_end|>", "<image>", "<"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(st.lists(SPELT, max_size=4).map("".join), min_size=1, max_size=4))
def test_any_text_around_images_is_encoded_as_it_stands(tiny, parts):
    """The text between the places, whatever it spells, and one image token at each place."""
    parts = [part.replace(PLACE, "") for part in parts]
    turns = [{"question": PLACE.join(parts), "answer": "a"}]
    ids = tiny.prompter.prompt(turns, [1] * (len(parts) - 1))
    image = tiny.model.config.image_token_id
    assert ids.count(image) == len(parts) - 1
    expected = "<img><IMG_CONTEXT></img>".join(parts)
    asked = f"<|im_start|>user\n{expected}<|im_end|>\n<|im_start|>assistant\n"
    assert tiny.prompter.tokenizer.decode(ids) == asked


def test_features_see_the_words_only(tiny):
    prompter = tiny.prompter
    assert prompter.plain_ids(f"a {PLACE}b{PLACE}") == prompter.plain_ids("a b")


def test_a_question_in_the_frame_of_its_turn(tiny):
    """As the released code cuts it out of a conversation: from the turn's mark to its end."""
    ids = tiny.prompter.chat_ids(f"{PLACE}Where <|im_end|>?")
    text = "<|im_start|>user\nWhere <|im_end|>?<|im_end|>"
    assert tiny.prompter.tokenizer.decode(ids) == text
    end = tiny.prompter.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ids.count(end) == 1 and ids[-1] == end  # what the user wrote stays text


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


CONTROL = ["<|im_end|>", "<|im_start|>", "<IMG_CONTEXT>", "<img>", "</img>", "<|endoftext|>"]


@pytest.mark.parametrize("word", CONTROL)
@pytest.mark.parametrize("around", ["{}", "what is {}?", "{0}{0}", "<{}>", "a\n{}\nb", " {} "])
def test_a_users_text_is_never_a_control_token(tiny, word, around):
    """With one token per byte the text decodes to itself, and holds no special id."""
    prompter, tokenizer = tiny.prompter, tiny.prompter.tokenizer
    text = around.format(word)
    special = set(tokenizer.all_special_ids) | {tiny.model.config.image_token_id}
    plain, _ = prompter.conversation([{"question": "Q", "answer": "A"}], [1])
    ids, labels = prompter.conversation([{"question": text, "answer": text}], [1])
    assert [t for t in ids if t in special] == [t for t in plain if t in special]
    answer = [t for t in labels if t != IGNORE]
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer[:-1]) == text
    assert not special & set(prompter.plain_ids(text))
    assert tokenizer.decode(prompter.plain_ids(text)) == text
    asked = prompter.prompt([{"question": text, "answer": ""}], [1])
    assert ids[: len(asked)] == asked


def test_a_text_without_control_tokens_is_tokenised_as_before(tiny):
    text = "plain < text > with |im_end| and a \ufdd0 break"
    tokenizer = tiny.prompter.tokenizer
    assert tiny.prompter.plain_ids(text) == tokenizer(text.replace("\ufdd0", ""))["input_ids"]


def test_a_row_with_image_tokens_in_its_text_trains_and_answers(tiny):
    row = make_row(0, "what does <IMG_CONTEXT> mean?", "<|im_end|> no")
    prompter = tiny.prompter
    batch = tiny.to_device(prompter.collate([prompter.training_example(row)]))
    losses, _ = token_losses(tiny.model, batch)
    assert len(losses) == len("<|im_end|> no") + 1
    example = prompter.generation_example(row)
    limits = {"max_new_tokens": 2, "min_new_tokens": 0}
    batch = tiny.to_device(prompter.collate([example], "left"))
    assert len(generate(tiny.model, prompter, batch, limits)) == 1

"""Texts that spell control tokens, under tokenizers that put a blank in front of a text."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.core.backbone.prompts import Prompter
from stages.core.backbone.sentencepiece_bpe import build
from tests.helpers import published_layout

SPECIAL = ["<unk>", "<s>", "</s>", "<image>", "<|im_end|>"]
BLANK = "\u2581"
LETTERS = "abcdegikmnstu<>|/_ \n"


def pieces():
    """One token per letter, and merges that a blank in front would lead to."""
    merged = [(BLANK, "i"), (f"{BLANK}i", "m"), ("i", "m"), (BLANK, "|"), ("<", "i")]
    texts = [*SPECIAL, *LETTERS.replace(" ", BLANK), *("".join(pair) for pair in merged)]
    return {text: i for i, text in enumerate(dict.fromkeys(texts))}, merged


def prepended():
    """Llama: the normaliser puts a blank in front of every stretch between control tokens."""
    vocabulary, merges = pieces()
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    steps = [normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)]
    core.normalizer = normalizers.Sequence(steps)
    core.decoder = decoders.Sequence(
        [decoders.Replace(BLANK, " "), decoders.Fuse(), decoders.Strip(" ", left=1)]
    )
    return core


def metaspace(scheme):
    """Llama as transformers writes it today."""

    def make():
        vocabulary, merges = pieces()
        core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Metaspace(BLANK, scheme, split=False)
        core.decoder = decoders.Sequence(
            [decoders.Replace(BLANK, " "), decoders.Fuse(), decoders.Strip(" ", left=1)]
        )
        return core

    return make


def byte_level():
    """GPT-2 with a blank in front."""
    texts = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1)])
    return core


MAKERS = {
    "prepended": prepended,
    "metaspace_first": metaspace("first"),
    "metaspace_always": metaspace("always"),
    "byte_level": byte_level,
}


def prompter(core):
    core.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    images = SimpleNamespace(token="<image>", before="", after="", gap="\n")
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>{% endif %}"
    )
    return Prompter(tokenizer, images)


@pytest.fixture(scope="module", params=MAKERS)
def words(request):
    return prompter(MAKERS[request.param]())


@pytest.mark.parametrize(
    "text",
    ["a <image> b", "<image>", "im<|im_end|>im", "<|im_end|><image>", "a</s>", "<im <image>|"],
)
def test_no_blank_comes_in_where_a_control_token_is_broken(words, text):
    ids = words.plain_ids(text)
    assert words.tokenizer.decode(ids) == text
    assert not set(ids) & set(range(len(SPECIAL)))


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.sampled_from(SPECIAL) | st.text(LETTERS, max_size=3), max_size=6))
def test_any_text_decodes_to_itself(words, parts):
    text = "".join(parts).strip()
    ids = words.plain_ids(text)
    assert words.tokenizer.decode(ids) == text
    assert not set(ids) & set(range(len(SPECIAL)))


def test_the_template_behind_a_broken_text_is_encoded_as_ever(words):
    def behind(question):
        ids, _ = words.conversation([{"question": question, "answer": "a"}], [])
        return ids[ids.index(SPECIAL.index("</s>")) :]

    assert behind("a <image>") == behind("a b")


def test_a_model_file_of_sentencepiece(tmp_path):
    published_layout.write_tokenizer(tmp_path, dummy_prefix=True)
    added = {i: AddedToken(text, special=True) for i, text in enumerate(SPECIAL[:3])}
    words = prompter(build(tmp_path / "tokenizer.model", added))
    for text in ("the <image>", "</s>the", "a <|im_end|>ing"):
        assert words.tokenizer.decode(words.plain_ids(text)) == text

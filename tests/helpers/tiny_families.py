"""Tiny random backbones of every family, in the folder layout of the real ones."""

import json

WIDTHS = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {
    **WIDTHS,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
GRIDS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]  # height, width
LLAVA_TOKENS = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "image": "<image>"}
QWEN_TOKENS = {
    "pad": "<|endoftext|>",
    "start": "<|im_start|>",
    "eos": "<|im_end|>",
    "before": "<|vision_start|>",
    "after": "<|vision_end|>",
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
}


def make_tokenizer(folder, special, template):
    """One token per byte after the special ones; returns the number of tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(special.values()))
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=special["pad"],
        bos_token=special.get("bos"),
        eos_token=special["eos"],
        chat_template=template,
    ).save_pretrained(folder)
    return len(texts)


def llava(folder):
    """CLIP (three blocks, the second's states are used) and Llama."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    size = make_tokenizer(folder, LLAVA_TOKENS, "unusable: {{ messages[0].content[0].type.x }}")
    vision = {"model_type": "clip_vision_model", "num_hidden_layers": 3, **WIDTHS}
    config = LlavaConfig(
        vision_config=vision | {"image_size": 28, "patch_size": 14, "projection_dim": 16},
        text_config=TEXT | {"model_type": "llama", "vocab_size": size},
        image_token_index=list(LLAVA_TOKENS).index("image"),
    )
    squares = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    return LlavaForConditionalGeneration(config), squares


def llava_next(folder):
    """Grids of up to four squares of 28 pixels; as LLaVA-1.5, but Mistral."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

    size = make_tokenizer(folder, LLAVA_TOKENS, "unusable: {{ messages[0].content[0].type.x }}")
    vision = {"model_type": "clip_vision_model", "num_hidden_layers": 3, **WIDTHS}
    config = LlavaNextConfig(
        vision_config=vision | {"image_size": 28, "patch_size": 14, "projection_dim": 16},
        text_config=TEXT | {"model_type": "mistral", "vocab_size": size, "sliding_window": None},
        image_token_index=list(LLAVA_TOKENS).index("image"),
        image_grid_pinpoints=GRIDS,
    )
    squares = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    return LlavaNextForConditionalGeneration(config), squares


def _qwen_ids():
    order = list(QWEN_TOKENS)
    names = {"image": "image", "video": "video", "vision_start": "before", "vision_end": "after"}
    return {f"{key}_token_id": order.index(name) for key, name in names.items()}


def _qwen_text(size):
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    return TEXT | {"vocab_size": size, "rope_parameters": rope, "bos_token_id": None}


LIMITS = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 9}


def qwen2_vl(folder):
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    size = make_tokenizer(folder, QWEN_TOKENS, CHATML)
    config = Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 24, "num_heads": 3, "hidden_size": 32},
        text_config=_qwen_text(size),
        **_qwen_ids(),
    )
    return Qwen2VLForConditionalGeneration(config), LIMITS


def qwen2_5_vl(folder):
    """Its first vision block attends within windows of two by two tokens."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    size = make_tokenizer(folder, QWEN_TOKENS, CHATML)
    vision = {"depth": 2, "hidden_size": 24, "num_heads": 3, "intermediate_size": 64}
    config = Qwen2_5_VLConfig(
        vision_config=vision
        | {"out_hidden_size": 32, "window_size": 56, "fullatt_block_indexes": [1]},
        text_config=_qwen_text(size),
        **_qwen_ids(),
    )
    size = {"shortest_edge": LIMITS["min_pixels"], "longest_edge": LIMITS["max_pixels"]}
    return Qwen2_5_VLForConditionalGeneration(config), {"size": size}


IDEFICS_TOKENS = {"pad": "<pad>", "bos": "<|im_start|>", "eos": "<end_of_utterance>"}
IDEFICS_TOKENS |= {"edge": "<fake_token_around_image>", "whole": "<global-img>"}
IDEFICS_TOKENS |= {"image": "<image>"}
IDEFICS_TOKENS |= {f"{r}{c}": f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)}


def qwen3_vl(folder):
    """Patches of 16 pixels; the second vision block's states join the language model's first."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    size = make_tokenizer(folder, QWEN_TOKENS, CHATML)
    vision = {"depth": 2, "hidden_size": 24, "num_heads": 3, "intermediate_size": 64}
    config = Qwen3VLConfig(
        vision_config=vision
        | {"out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [1]},
        text_config=_qwen_text(size) | {"head_dim": 8},
        **_qwen_ids(),
    )
    limits = {"shortest_edge": QWEN3_LIMITS[0], "longest_edge": QWEN3_LIMITS[1]}
    return Qwen3VLForConditionalGeneration(config), {"size": limits}


QWEN3_LIMITS = 64 * 64, 32 * 32 * 9  # pixels
GEMMA_TOKENS = {"pad": "<pad>", "bos": "<bos>", "eos": "<eos>", "end": "<end_of_turn>"}
GEMMA_TOKENS |= {"start": "<start_of_turn>", "before": "<start_of_image>"}
GEMMA_TOKENS |= {"after": "<end_of_image>", "image": "<image_soft_token>"}


def gemma3(folder):
    """SigLIP, 4 x 4 patches as four tokens; the first of the language model's blocks sees the
    last 600 positions."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    size = make_tokenizer(folder, GEMMA_TOKENS, "unusable: {{ messages[0].content[0].type.x }}")
    order = list(GEMMA_TOKENS)
    vision = {"num_hidden_layers": 2, "image_size": 56, "patch_size": 14}
    kinds = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 600}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": size}
    config = Gemma3Config(
        vision_config=WIDTHS | vision | {"vision_use_head": False},
        text_config=TEXT | {"head_dim": 8} | kinds | special,
        tie_word_embeddings=False,  # tied, a random model repeats its last token
        mm_tokens_per_image=4,
        boi_token_index=order.index("before"),
        eoi_token_index=order.index("after"),
        image_token_index=order.index("image"),
    )
    return Gemma3ForConditionalGeneration(config), {"size": {"height": 56, "width": 56}}


ONEVISION_TOKENS = {"pad": "<|endoftext|>", "start": "<|im_start|>", "eos": "<|im_end|>"}
ONEVISION_TOKENS |= {"image": "<image>", "video": "<video>"}


def llava_onevision(folder):
    """SigLIP, squares of four tokens; grids of more than two squares' tokens are scaled down."""
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    unusable = "unusable: {{ messages[0].content[0].type.x }}"
    size = make_tokenizer(folder, ONEVISION_TOKENS, unusable)
    order = list(ONEVISION_TOKENS)
    vision = {"num_hidden_layers": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False}
    config = LlavaOnevisionConfig(
        vision_config=WIDTHS | vision | {"model_type": "siglip_vision_model"},
        text_config=TEXT | {"model_type": "qwen2", "vocab_size": size, "bos_token_id": None},
        image_token_index=order.index("image"),
        video_token_index=order.index("video"),
        image_grid_pinpoints=GRIDS,
        vision_aspect_ratio="anyres_max_2",
    )
    squares = {"size": {"height": 28, "width": 28}}
    return LlavaOnevisionForConditionalGeneration(config), squares


def smolvlm(folder):
    """Tiles of 28 pixels, 2 x 2 patches, one token each."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    size = make_tokenizer(folder, IDEFICS_TOKENS, "unusable: {{ messages[0].content[0].type.x }}")
    config = SmolVLMConfig(
        vision_config=WIDTHS | {"num_hidden_layers": 2, "image_size": 28, "patch_size": 14},
        text_config=TEXT | {"model_type": "llama", "vocab_size": size, "pad_token_id": 0},
        image_token_id=list(IDEFICS_TOKENS).index("image"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": 4 * 28}, "max_image_size": {"longest_edge": 28}}
    return SmolVLMForConditionalGeneration(config), sizes


INTERN_TOKENS = {"pad": "<|endoftext|>", "start": "<|im_start|>", "eos": "<|im_end|>"}
INTERN_TOKENS |= {"before": "<img>", "after": "</img>", "image": "<IMG_CONTEXT>"}


def internvl(text):
    """Tiles of 28 pixels, one token each; the family's models differ in the language model.

    Beside Llama the vision encoder is of the large models' kind.
    """

    def make(folder):
        from transformers import InternVLConfig, InternVLForConditionalGeneration

        size = make_tokenizer(folder, INTERN_TOKENS, CHATML)
        vision = {"image_size": [28, 28], "patch_size": [14, 14], "num_hidden_layers": 2}
        large = {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": False}
        large = large if text["model_type"] == "llama" else {}
        config = InternVLConfig(
            vision_config=WIDTHS | vision | large,
            text_config=TEXT | {"vocab_size": size, "bos_token_id": None} | text,
            image_token_id=list(INTERN_TOKENS).index("image"),
            image_seq_length=1,
            downsample_ratio=0.5,
        )
        return InternVLForConditionalGeneration(config), {"size": {"height": 28, "width": 28}}

    return make


MAKERS = {
    "internvl2_5": internvl({"model_type": "llama"}),
    "internvl3": internvl({"model_type": "qwen2"}),
    "internvl3_5": internvl({"model_type": "qwen3", "head_dim": 8}),
    "gemma3": gemma3,
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
}


def write_backbone(family, folder):
    """Write a family's folder, its weights large enough for answers to differ."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir()
    torch.manual_seed(0)
    model, sizes = MAKERS[family](folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.4 if "embed" in name or "projector" in name else 0.2)
    model.save_pretrained(folder)
    stored = sizes | {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(stored))

"""InternVL2 as published (InternLM2 + InternViT, remote-code layout) in terms of native classes.

InternLM2 is a Llama under other names whose query, key and value rows lie in one matrix, group by
group: ``[kv heads][queries of the group, key, value][head size]``. InternViT is transformers'
InternVL vision tower with query, key and value stacked. InternViT-6B (InternVL2-26B) has
RMS norms, also of queries and keys, and no biases there. Everything here works on configurations,
names and single tensors; nothing reads a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor

SYSTEM_MESSAGE = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "
    "是一个有用无害的人工智能助手。"
)
# The published conversation has no line break after the end of a turn.
CHAT_TEMPLATE = (
    "{{ bos_token }}<|im_start|>system\n"
    + SYSTEM_MESSAGE
    + "<|im_end|>{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ("<img>", "</img>", "<IMG_CONTEXT>", "<|im_start|>", "<|im_end|>")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SUPPORTED = {  # key of the published config.json -> the only value whose computation is native
    "architectures": ["InternVLChatModel"],
    "llm_config.architectures": ["InternLM2ForCausalLM"],
    "llm_config.bias": False,
    "llm_config.tie_word_embeddings": False,
    "pad2square": False,
    "ps_version": "v2",
    "select_layer": -1,
    "template": "internlm2-chat",
    "vision_config.architectures": ["InternVisionModel"],
}
OPTIONAL = {"llm_config.tie_word_embeddings", "pad2square", "select_layer"}  # default as above
ROPE_TYPES = ("default", "linear", "dynamic")
NORMS = ("layer_norm", "rms_norm")  # of InternViT-300M and of InternViT-6B
QK_NORM_EPS = 1e-6  # the native tower's only one

WHOLE = {
    "language_model.model.tok_embeddings.weight": "model.language_model.embed_tokens.weight",
    "language_model.model.norm.weight": "model.language_model.norm.weight",
    "language_model.output.weight": "lm_head.weight",
    "vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": (
        "model.vision_tower.embeddings.position_embeddings"
    ),
}
PROJECTOR = {"0": "layer_norm", "1": "linear_1", "3": "linear_2"}
LANGUAGE_LAYER = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
VISION_LAYER = {
    "attn.proj": "attention.projection_layer",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
}
LAYER_SCALES = {"ls1": "lambda_1", "ls2": "lambda_2"}
QKV = ("q_proj", "k_proj", "v_proj")
PARAMETERS = ("weight", "bias")


# --- configuration --------------------------------------------------------------------------


Names = dict[str, tuple[str, ...]]  # published tensor -> native ones


def _look_up(config: dict[str, Any], key: str, where: str, *default: Any) -> Any:
    """A dotted key of the published configuration; absent ones need a ``default``."""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            if default:
                return default[0]
            raise InputError(f"{where}: key {key!r} is missing; is this a published InternVL2?")
        value = value[part]
    return value


def native_config(published: dict[str, Any], where: str) -> Any:
    """The ``InternVLConfig`` (language model: Llama) that computes what the published one does.

    Args:
        published: content of the published config.json.
        where: its path, for messages.

    Raises:
        InputError: a missing key, or a variant with another computation (other language model,
            another norm, another pixel shuffle, ...).
    """
    from transformers import InternVLConfig

    for key, wanted in SUPPORTED.items():
        found = _look_up(published, key, where, *([wanted] if key in OPTIONAL else []))
        if found != wanted:
            raise InputError(
                f"{where}: {key} is {found!r}; only {wanted!r} can be converted (InternVL2 and 2.5 "
                "with InternLM2). Models with a Qwen2 language model have native checkpoints "
                "(names ending in -hf)."
            )

    def get(key: str, *default: Any) -> Any:
        return _look_up(published, key, where, *default)

    ratio, tile = get("downsample_ratio"), get("force_image_size")
    vision = _vision_config(get, where)
    return InternVLConfig(
        vision_config=vision,
        text_config=_text_config(get, where),
        downsample_ratio=ratio,
        image_seq_length=round((tile // vision["patch_size"] * ratio) ** 2),
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
        architectures=["InternVLForConditionalGeneration"],
    )


def _vision_config(get: Any, where: str) -> dict[str, Any]:
    same = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_act",
        "layer_norm_eps",
        "image_size",
        "patch_size",
    )
    norm, epsilon = get("vision_config.norm_type"), get("vision_config.layer_norm_eps")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS, f"{where}: vision_config.norm_type")
    if (normed := get("vision_config.qk_normalization")) and epsilon != QK_NORM_EPS:
        raise InputError(
            f"{where}: vision_config.layer_norm_eps is {epsilon}; with qk_normalization only "
            f"{QK_NORM_EPS} can be converted."
        )
    return {
        **{key: get(f"vision_config.{key}") for key in same},
        "attention_bias": get("vision_config.qkv_bias"),
        "norm_type": norm,
        "use_qk_norm": normed,
        "use_mean_pooling": True,  # native for: no LayerNorm after the last block
    }


def _text_config(get: Any, where: str) -> dict[str, Any]:
    same = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_act",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    scaling = dict(get("llm_config.rope_scaling", None) or {})
    rope = scaling.pop("rope_type", None) or scaling.pop("type", "default")
    if rope not in ROPE_TYPES:
        raise unknown("rope type", rope, ROPE_TYPES, f"{where}: llm_config.rope_scaling")
    theta = float(get("llm_config.rope_theta"))
    return {
        **{key: get(f"llm_config.{key}") for key in same},
        "model_type": "llama",
        "rope_parameters": {**scaling, "rope_type": rope, "rope_theta": theta},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }


# --- tensors --------------------------------------------------------------------------------


def target_names(config: Any) -> Names:
    """Published tensor name -> native names; a fused tensor has three (query, key, value).

    Args:
        config: of :func:`native_config`.
    """
    names: Names = {source: (target,) for source, target in WHOLE.items()}
    patches = "model.vision_tower.embeddings.patch_embeddings.projection"
    for kind in PARAMETERS:
        names[f"vision_model.embeddings.patch_embedding.{kind}"] = (f"{patches}.{kind}",)
        for source, target in PROJECTOR.items():
            names[f"mlp1.{source}.{kind}"] = (f"model.multi_modal_projector.{target}.{kind}",)
    for block in range(config.text_config.num_hidden_layers):
        old, new = f"language_model.model.layers.{block}", f"model.language_model.layers.{block}"
        fused = tuple(f"{new}.self_attn.{linear}.weight" for linear in QKV)
        names[f"{old}.attention.wqkv.weight"] = fused
        for source, target in LANGUAGE_LAYER.items():
            names[f"{old}.{source}.weight"] = (f"{new}.{target}.weight",)
    for block in range(config.vision_config.num_hidden_layers):
        names |= _vision_layer_names(block, config.vision_config)
    return names


def _vision_layer_names(block: int, config: Any) -> Names:
    old, new = f"vision_model.encoder.layers.{block}", f"model.vision_tower.encoder.layer.{block}"
    names: Names = {
        f"{old}.{scale}": (f"{new}.{target}",) for scale, target in LAYER_SCALES.items()
    }
    without_bias = {"attn.qkv"} if not config.attention_bias else set()
    without_bias |= {"norm1", "norm2"} if config.norm_type == "rms_norm" else set()
    targets = {"attn.qkv": tuple(f"attention.{linear}" for linear in QKV)}
    targets |= {source: (target,) for source, target in VISION_LAYER.items()}
    for source, found in targets.items():
        for kind in PARAMETERS[: 1 if source in without_bias else 2]:
            names[f"{old}.{source}.{kind}"] = tuple(f"{new}.{target}.{kind}" for target in found)
    for norm in ("q_norm", "k_norm") if config.use_qk_norm else ():
        names[f"{old}.attn.{norm}.weight"] = (f"{new}.attention.{norm}.weight",)
    return names


@dataclass(frozen=True)
class Grouping:
    """How InternLM2 interleaves query, key and value rows."""

    heads: int
    key_value_heads: int


def split(name: str, tensor: Tensor, grouping: Grouping) -> tuple[Tensor, ...]:
    """The native tensors of one published tensor, in the order of :func:`target_names`."""
    if name.endswith(".attention.wqkv.weight"):
        return _split_groups(tensor, grouping)
    if ".attn.qkv." in name:
        return tuple(part.contiguous() for part in tensor.chunk(3))
    return (tensor,)


def _split_groups(tensor: Tensor, grouping: Grouping) -> tuple[Tensor, ...]:
    queries = grouping.heads // grouping.key_value_heads  # per group
    width = tensor.shape[-1]
    size = tensor.shape[0] // (grouping.heads + 2 * grouping.key_value_heads)  # of a head
    rows = tensor.view(grouping.key_value_heads, queries + 2, size, width)
    parts = rows[:, :queries], rows[:, queries], rows[:, queries + 1]
    return tuple(part.reshape(-1, width).contiguous() for part in parts)

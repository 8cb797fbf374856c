"""Published backbones as configurations, for models that have a shape and no weights.

The numbers are those of each model's config.json on the Hugging Face hub.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).parents[2] / "data_manifests" / "backbones"


def _shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((SHIPPED / name / "config.json").read_text())
    return content


def _internvl(**llm: int) -> dict[str, Any]:
    """InternViT-300M in front of an InternLM2."""
    content = _shipped("internvl2-2b")
    return content | {"llm_config": content["llm_config"] | llm}


def _qwen(vision: dict[str, Any], **text: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    tower = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
    windows = {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]}
    return {
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "patch_size": 14,
            **tower,
            **windows,
            **vision,
        },
        "text_config": {"model_type": "qwen2_5_vl_text", "rope_parameters": rope, **text},
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "tie_word_embeddings": text["tie_word_embeddings"],
    }


SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}
SIGLIP |= {"num_attention_heads": 16, "image_size": 384, "patch_size": 14}
QWEN_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
QWEN_7B |= {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064}
SMOL = {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192}
SMOL |= {"num_hidden_layers": 24, "num_attention_heads": 32, "num_key_value_heads": 32}
SMOL |= {"vocab_size": 49155, "pad_token_id": 2}
PIXELS = {"min_pixels": 3136, "max_pixels": 12845056}

CONFIGS: dict[str, dict[str, Any]] = {
    "internvl2-2b": _internvl(),
    "internvl2-8b": _internvl(
        hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_hidden_layers=32
    ),
    "llava-1.5-7b": _shipped("llava-1.5-7b"),
    "qwen2.5-vl-3b": _shipped("qwen2.5-vl-3b"),
    "qwen2.5-vl-7b": _qwen({"out_hidden_size": 3584}, tie_word_embeddings=False, **QWEN_7B),
    "smolvlm-2b": {
        "model_type": "smolvlm",
        "vision_config": SIGLIP,
        "text_config": SMOL,
        "image_token_id": 49153,
        "scale_factor": 3,
    },
}
STORED: dict[str, dict[str, Any]] = {
    "llava": {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    "qwen2_5_vl": PIXELS,
    "smolvlm": {"size": {"longest_edge": 1536}, "max_image_size": {"longest_edge": 384}},
}
IMAGES = {  # of one sample: internvl takes six tiles and the thumbnail, smolvlm a grid of 4 x 3
    "internvl_chat": (1344, 896),
    "llava": (336, 336),
    "qwen2_5_vl": (1008, 784),
    "smolvlm": (1536, 1152),
}


def write_shape(name: str, folder: Path) -> Path:
    """Write a folder with the configuration and preprocessing of a published backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    content = CONFIGS[name]
    (folder / "config.json").write_text(json.dumps(content))
    usual = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    stored = STORED.get(content["model_type"], {}) | usual
    (folder / "preprocessor_config.json").write_text(json.dumps(stored))
    return folder

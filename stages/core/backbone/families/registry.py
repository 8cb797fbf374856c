"""Families of backbones: how each architecture takes images, one file per family.

A family turns images into model inputs and into the text that stands for them, and reads the
vision encoder's states. Everything else (slots, losses, experts, routing) is common.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core.backbone.families import (
    gemma3,
    idefics3,
    internvl,
    llava,
    llava_next,
    llava_onevision,
    qwen_vl,
)
from stages.core.backbone.families.base import Family
from stages.core.base.errors import unknown
from stages.core.base.reading import read_object

FAMILIES: dict[str, type[Family]] = {  # by model_type of config.json
    "gemma3": gemma3.Gemma3,
    "idefics3": idefics3.Idefics3,
    "internvl": internvl.InternVL,
    "llava": llava.Llava,
    "llava_next": llava_next.LlavaNext,
    "llava_onevision": llava_onevision.LlavaOnevision,
    "qwen2_vl": qwen_vl.QwenVL,
    "qwen2_5_vl": qwen_vl.QwenVL,
    "qwen3_vl": qwen_vl.QwenVL,
    "smolvlm": idefics3.Idefics3,
}


def load(path: Path, config: Any, settings: dict[str, Any]) -> Family:
    """The family of a backbone folder.

    Args:
        config: the model's configuration.
        settings: the run's ``backbone`` section (image_size, max_tiles).

    Raises:
        InputError: an architecture without a family, or an image size it cannot take.
    """
    if config.model_type not in FAMILIES:
        raise unknown("model family", config.model_type, FAMILIES, str(path / "config.json"))
    stored = read_object(path / "preprocessor_config.json")
    return FAMILIES[config.model_type](path, config, stored, settings)

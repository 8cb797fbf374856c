"""LLaVA-1.5: one square per image, its middle, as its image processor cuts it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import tiling
from stages.core.backbone.families.base import Family

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


# Vicuna's conversation. The published template expects lists of parts and ends no answer. The blank
# after ASSISTANT: is the one that Llama's tokenizer puts before any text of its own.
VICUNA = (
    "{{ bos_token }}A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT:' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class Llava(Family):
    """The shorter side becomes ``tile`` pixels, what the longer one has in excess is cut off.

    ``max_tiles`` does not apply.
    """

    token = "<image>"
    chat_template = VICUNA

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        vision = config.vision_config
        self.tile = self.only_size(path, vision.image_size, settings)
        whole = config.vision_feature_select_strategy == "full"  # the class token stays
        self.tokens_per_tile = (self.tile // vision.patch_size) ** 2 + whole

    def thumbnail(self, image: Image) -> Tensor:
        return self.tensor([tiling.middle(image, self.tile)])

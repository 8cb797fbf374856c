"""Gemma 3: an image is one square, whose tokens see each other in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.families.base import Family

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Gemma3(Family):
    """The whole image, out of shape, at the model's size; ``max_tiles`` does not apply.

    The further crops of elongated images that its processor offers (pan and scan) are off, as they
    are there by default.
    """

    before, token, after = "\n\n<start_of_image>", "<image_soft_token>", "<end_of_image>\n\n"
    gap = ""
    end_of_turn = "<end_of_turn>"
    # The published template strips turns, and with that the line breaks around an image.
    chat_template = (
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
        "{{ m['content'] }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        self.tile = self.only_size(path, config.vision_config.image_size, settings)
        self.tokens_per_tile = config.mm_tokens_per_image

    def thumbnail(self, image: Image) -> Tensor:
        from PIL.Image import Resampling

        return self.tensor([image.resize((self.tile, self.tile), Resampling.BILINEAR)])

    def batch(self, rows: list[Tensor], ids: Tensor) -> dict[str, Tensor]:
        kinds = (ids == self.config.image_token_id).int()  # 1: of an image
        return super().batch(rows, ids) | {"token_type_ids": kinds}

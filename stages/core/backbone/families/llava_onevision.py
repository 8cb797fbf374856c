"""LLaVA-OneVision: a single image as LLaVA-NeXT's, scaled down if large; several as squares."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.families.llava_next import LlavaNext

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ENOUGH = 1.1  # times the side that the model's limit allows; a larger grid's tokens are resampled
SQUARE = (1, 0, 0)  # the tile count of one of several images


class LlavaOnevision(LlavaNext):
    """A grid of more tokens than the model's limit of squares (``vision_aspect_ratio``) is scaled
    down to it. Each of a row's several images is one padded square, whatever ``max_tiles``."""

    end_of_turn = "<|im_end|>"

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        # The published template expects lists of parts; its answers have a blank that its
        # generation prompt lacks.
        self.chat_template = (
            "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}"
            "{% if m['role'] == 'user' %}{{ ' ' }}{% endif %}"
            "{% if not m['content'].startswith('<image>') %}{{ '\n' }}{% endif %}"
            "{{ m['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        )
        self.tokens_per_tile = self.side**2  # its encoder has no class token
        self.most = int(config.vision_aspect_ratio.removeprefix("anyres_max_")) * self.side**2

    def tile_count(self, width: int, height: int) -> tuple[int, int, int]:
        squares, lines, columns = super().tile_count(width, height)
        shrink = math.sqrt(lines * columns / self.most)
        if shrink > ENOUGH:
            lines, columns = int(lines // shrink), int(columns // shrink)
        return squares, lines, columns

    def tile_counts(self, sizes: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
        return [SQUARE] * len(sizes) if len(sizes) > 1 else super().tile_counts(sizes)

    def _tokens(self, tiles: tuple[int, int, int]) -> int:
        return self.tokens_per_tile + 1 if tiles == SQUARE else super()._tokens(tiles)

    # --- images ---

    def pixels(self, images: list[Image]) -> list[tuple[Tensor, tuple[int, int]]]:
        if len(images) == 1:
            return super().pixels(images)
        return [(self.tensor([self._padded(image)]), image.size[::-1]) for image in images]

    def _padded(self, image: Image) -> Image:
        from PIL import Image as Pillow

        side = max(image.size)
        sheet = Pillow.new("RGB", (side, side), tuple(int(value * 255) for value in self.mean))
        sheet.paste(image, tuple((side - length) // 2 for length in image.size))
        return sheet.resize((self.tile, self.tile), Pillow.Resampling.BICUBIC)

    def batch(
        self, rows: list[list[tuple[Tensor, tuple[int, int]]]], ids: Tensor
    ) -> dict[str, Tensor]:
        """Also how many images each row with images has."""
        import torch

        counts = torch.tensor([len(row) for row in rows])
        return super().batch(rows, ids) | {"batch_num_images": counts}

    def owners(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        ids = inputs["input_ids"]
        rows = (ids == self.config.image_token_id).any(dim=1).nonzero()[:, 0].tolist()
        sizes = iter(inputs["image_sizes"].tolist() if rows else [])
        squares = []
        for count in inputs["batch_num_images"].tolist() if rows else []:
            own = [(width, height) for height, width in (next(sizes) for _ in range(count))]
            squares.append(sum(tiles[0] for tiles in self.tile_counts(own)))
        owners = torch.tensor(rows, dtype=torch.long, device=ids.device)
        return owners.repeat_interleave(torch.tensor(squares, device=ids.device, dtype=torch.long))

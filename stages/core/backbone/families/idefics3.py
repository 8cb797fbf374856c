"""Idefics3 and SmolVLM: a grid of square tiles, named by row and column, then the whole image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import tiling
from stages.core.backbone.families.base import Family

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

EDGE = "<fake_token_around_image>"


class Idefics3(Family):
    """The longer side becomes as many tiles as the folder says, less if the grid would have more
    than ``max_tiles``; an image that fits one tile has no grid."""

    token, after, gap = "<image>", EDGE, ""
    end_of_turn = "<end_of_utterance>"
    # The published template expects lists of parts; it has a blank before text, none before images.
    chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] | capitalize }}:"
        "{% if not m['content'].startswith('" + EDGE + "') %}{{ ' ' }}{% endif %}"
        "{{ m['content'] }}<end_of_utterance>\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:{% endif %}"
    )

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        vision = config.vision_config
        self.tile = self.only_size(path, vision.image_size, settings)
        self.tokens_per_tile = (self.tile // vision.patch_size // config.scale_factor) ** 2
        self.longest = max(1, stored["size"]["longest_edge"] // self.tile)  # in tiles

    # --- images ---

    def _sizes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Width and height after each of the two resizings; the last ones are whole tiles."""
        for tiles in range(self.longest, 0, -1):
            first = self._scaled(width, height, tiles * self.tile)
            second = self._scaled(*first, tiles * self.tile, self.tile)
            if second[0] * second[1] // self.tile**2 <= self.max_tiles:
                break
        return [first, second]

    def _scaled(self, width: int, height: int, longer: int, step: int = 2) -> tuple[int, int]:
        """The longer side at ``longer`` pixels, the other rounded up to a multiple of ``step``."""
        ratio = width / height
        if width >= height:
            return longer, max(1, math.ceil(int(longer / ratio) / step) * step)
        return max(1, math.ceil(int(longer * ratio) / step) * step), longer

    def tile_count(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of the grid."""
        wide, high = self._sizes(width, height)[1]
        return wide // self.tile, high // self.tile

    def marks(self, tiles: tuple[int, int]) -> str:
        """Each tile with its place, line by line, then the whole image."""
        columns, rows = tiles
        image = self.token * self.tokens_per_tile
        whole = f"{EDGE}<global-img>{image}{EDGE}"
        if columns * rows == 1:
            return whole
        lines = [
            "".join(f"{EDGE}<row_{r}_col_{c}>{image}" for c in range(1, columns + 1)) + "\n"
            for r in range(1, rows + 1)
        ]
        return "".join(lines) + "\n" + whole

    def pixels(self, images: list[Image]) -> Tensor:
        return self.tensor([tile for image in images for tile in self._cut(image)])

    def _cut(self, image: Image) -> list[Image]:
        from PIL.Image import Resampling

        for size in self._sizes(*image.size):
            image = image.resize(size, Resampling.LANCZOS)
        tiles = tiling.squares(image, self.tile)
        whole = image.resize((self.tile, self.tile), Resampling.LANCZOS)
        return [*tiles, whole] if len(tiles) > 1 else tiles

    def batch(self, rows: list[Tensor], ids: Tensor) -> dict[str, Tensor]:
        """All tiles as if they were one sample's: the model numbers them through anyway."""
        import torch

        return {"pixel_values": torch.cat(rows)[None]}

    # --- features ---

    def vision_states(self, model: nn.Module, thumbnails: Tensor) -> Tensor:
        return model.model.vision_model(pixel_values=thumbnails).last_hidden_state

    def language_model(self, model: nn.Module) -> nn.Module:
        return model.model.text_model

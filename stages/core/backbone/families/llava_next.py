"""LLaVA-NeXT (1.6): the whole image as one square, then a grid of squares without its padding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import tiling
from stages.core.backbone.families.llava import VICUNA, Llava

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

LLAMA2_TOKENS = 32_064  # Vicuna's vocabulary with the image token, padded; later Llamas have more
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)


class LlavaNext(Llava):
    """Of the model's grids those of at most ``max_tiles`` squares, or a single square if none is
    so small; the image keeps its shape in it. A line of image tokens ends with a token of its own.
    """

    whole_first = True

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        text = config.text_config
        vicuna = text.model_type == "llama" and text.vocab_size <= LLAMA2_TOKENS
        self.chat_template = MISTRAL if text.model_type == "mistral" else VICUNA if vicuna else None
        grids = [
            [height, width]
            for height, width in config.image_grid_pinpoints
            if height * width <= self.max_tiles * self.tile**2
        ]
        config.image_grid_pinpoints = grids or [[self.tile, self.tile]]  # the model reads it too
        self.side = self.tile // config.vision_config.patch_size  # tokens of a square's side

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels of the grid that keeps most of an image."""
        from transformers.image_processing_utils import select_best_resolution

        best = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        return best[1], best[0]

    def tile_count(self, width: int, height: int) -> tuple[int, int, int]:
        """Squares (the whole image included), and lines and tokens of a line of the grid."""
        wide, high = self._grid(width, height)
        columns, lines = wide // self.tile * self.side, high // self.tile * self.side
        if width / height > columns / lines:
            lines -= (lines - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (lines / height), 7))) // 2 * 2
        return 1 + wide * high // self.tile**2, lines, columns

    def marks(self, tiles: tuple[int, int, int]) -> str:
        return self.token * self._tokens(tiles)

    def _tokens(self, tiles: tuple[int, int, int]) -> int:
        _, lines, columns = tiles
        return self.tokens_per_tile + lines * (columns + 1)

    # --- images ---

    def pixels(self, images: list[Image]) -> list[tuple[Tensor, tuple[int, int]]]:
        """Of each image its squares, uint8 ``(squares, 3, tile, tile)``, and (height, width)."""
        return [(self.tensor(self._cut(image)), image.size[::-1]) for image in images]

    def thumbnail(self, image: Image) -> Tensor:
        return self.tensor([tiling.thumbnail(image, self.tile)])

    def _cut(self, image: Image) -> list[Image]:
        from PIL import Image as Pillow

        wide, high = self._grid(*image.size)
        by_width, by_height = wide / image.width, high / image.height
        if by_width < by_height:
            size = wide, min(math.ceil(image.height * by_width), high)
        else:
            size = min(math.ceil(image.width * by_height), wide), high
        sheet = Pillow.new("RGB", (wide, high))
        corner = (wide - size[0]) // 2, (high - size[1]) // 2
        sheet.paste(image.resize(size, Pillow.Resampling.BICUBIC), corner)
        return [tiling.thumbnail(image, self.tile), *tiling.squares(sheet, self.tile)]

    def batch(
        self, rows: list[list[tuple[Tensor, tuple[int, int]]]], ids: Tensor
    ) -> dict[str, Tensor]:
        """All squares of all images, ``(squares, 3, tile, tile)``, and the images' sizes."""
        import torch

        images = [image for row in rows for image in row]
        return {
            "pixel_values": torch.cat([squares for squares, _ in images]),
            "image_sizes": torch.tensor([size for _, size in images]),
        }

    def owners(self, inputs: dict[str, Tensor]) -> Tensor:
        import torch

        ids = inputs["input_ids"]
        samples = (ids == self.config.image_token_id).nonzero()[:, 0]  # of each image token
        owners, at = [], 0
        for height, width in inputs["image_sizes"].tolist() if len(samples) else []:
            tiles = self.tile_count(width, height)
            owners += [int(samples[at])] * tiles[0]
            at += self._tokens(tiles)
        return torch.tensor(owners, dtype=torch.long, device=ids.device)

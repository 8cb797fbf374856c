"""InternVL 2, 2.5, 3 and 3.5 in transformers' native layout: tiles and a thumbnail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import tiling
from stages.core.backbone.families.base import Family
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class InternVL(Family):
    """Up to ``max_tiles`` tiles in the grid closest to the image's shape, then the thumbnail."""

    before, token, after = "<img>", "<IMG_CONTEXT>", "</img>"

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        self.tile = settings["image_size"] or stored["size"]["height"]
        patch = config.vision_config.patch_size
        patch = patch[0] if isinstance(patch, list | tuple) else patch
        step = round(patch / config.downsample_ratio)  # pixels of an image token's side
        if self.tile % step:
            raise InputError(
                f"backbone.image_size {self.tile}: must be a multiple of {step} for {path}."
            )
        self.tokens_per_tile = (self.tile // step) ** 2

    def tile_count(self, width: int, height: int) -> int:
        return tiling.tile_count(width, height, self.max_tiles, self.tile)

    def pixels(self, images: list[Image]) -> Tensor:
        return self.tensor(
            [tile for image in images for tile in tiling.cut(image, self.max_tiles, self.tile)]
        )

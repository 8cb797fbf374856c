"""Qwen2-VL, 2.5-VL and 3-VL: images keep their shape; every square of merged patches is a token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import tiling
from stages.core.backbone.families.base import Family
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

THUMBNAIL = 448  # pixels, side of the square that features are read from, where the model allows it


class QwenVL(Family):
    """A token's square (28 pixels, Qwen3-VL's 32) is the tile; ``image_size`` squared caps an
    image's area.

    ``max_tiles`` does not apply.
    """

    before, token, after = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>"
    gap = ""
    tokens_per_tile = 1

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        super().__init__(path, config, stored, settings)
        vision = config.vision_config
        self.patch, self.merge = vision.patch_size, vision.spatial_merge_size
        self.frames = vision.temporal_patch_size  # a still image is repeated so often
        self.tile = self.patch * self.merge
        size = stored.get("size", {})
        self.least = stored.get("min_pixels") or size["shortest_edge"]
        self.most = stored.get("max_pixels") or size["longest_edge"]
        if settings["image_size"]:
            self.most = settings["image_size"] ** 2
        if self.most < self.tile**2:
            raise InputError(f"backbone.image_size: must be at least {self.tile} for {path}.")
        self.least = min(self.least, self.most)
        self.thumbnail_tiles = (self._thumbnail_side() // self.tile) ** 2

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in whole tiles, the area within the limits, the shape nearly kept."""
        wide, high = (round(side / self.tile) * self.tile for side in (width, height))
        if wide * high > self.most:
            shrink = math.sqrt(width * height / self.most)
            wide, high = (
                max(self.tile, math.floor(side / shrink / self.tile) * self.tile)
                for side in (width, height)
            )
        elif wide * high < self.least:
            grow = math.sqrt(self.least / (width * height))
            wide, high = (
                math.ceil(side * grow / self.tile) * self.tile for side in (width, height)
            )
        return wide, high

    def tile_count(self, width: int, height: int) -> int:
        wide, high = self.fit(width, height)
        return wide * high // self.tile**2

    def pixels(self, images: list[Image]) -> list[Tensor]:
        """One uint8 ``(1, 3, height, width)`` per image."""
        from PIL.Image import Resampling

        return [self.tensor([i.resize(self.fit(*i.size), Resampling.BICUBIC)]) for i in images]

    def thumbnail(self, image: Image) -> Tensor:
        return self.tensor([tiling.thumbnail(image, self._thumbnail_side())])

    def _thumbnail_side(self) -> int:
        """In pixels, whole tiles."""
        return min(THUMBNAIL, math.isqrt(self.most)) // self.tile * self.tile

    def batch(self, rows: list[list[Tensor]], ids: Tensor) -> dict[str, Tensor]:
        images = [image for row in rows for image in row]
        return self.patches(images) | {
            "mm_token_type_ids": (ids == self.config.image_token_id).int()
        }

    def patches(self, images: list[Tensor]) -> dict[str, Tensor]:
        """Flat patches ``(patches, 3 x frames x patch x patch)`` and each image's grid.

        Patches that become one token follow one another.
        """
        import torch

        flat, grids = [], []
        for image in images:
            x = image[0].unflatten(2, (-1, self.merge, self.patch))
            x = x.unflatten(1, (-1, self.merge, self.patch))  # (3, H, m, p, W, m, p)
            x = x.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)  # (H, W, m, m, 3, 1, p, p)
            x = x.expand(*x.shape[:5], self.frames, *x.shape[6:])
            flat.append(x.reshape(-1, x.shape[4:].numel()))
            grids.append([1, *(side // self.patch for side in image.shape[2:])])
        device = images[0].device
        return {
            "pixel_values": torch.cat(flat),
            "image_grid_thw": torch.tensor(grids, device=device),
        }

    def normalised(self, pixels: Tensor) -> Tensor:
        """Of flat :meth:`patches`, or of thumbnails ``(B, 3, side, side)``."""
        if pixels.dim() > 2:
            return super().normalised(pixels)
        channels = pixels.unflatten(1, (3, self.frames * self.patch, self.patch))
        return super().normalised(channels).flatten(1)

    @property
    def vision_width(self) -> int:
        vision = self.config.vision_config
        return vision.embed_dim if self.config.model_type == "qwen2_vl" else vision.hidden_size

    def vision_states(self, model: nn.Module, thumbnails: Tensor) -> Tensor:
        inputs = self.patches(list(thumbnails.split(1)))
        tower = model.model.visual
        states = tower(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).last_hidden_state
        return states.unflatten(0, (len(thumbnails), -1))

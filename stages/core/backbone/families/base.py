"""What a family of backbones says about images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stages.core.backbone import tiling
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


class Family:
    """Images as square tiles of one size, each a fixed number of tokens.

    A subclass sets ``tile`` (side in pixels) and ``tokens_per_tile``, and overrides what differs.
    """

    before: ClassVar[str] = ""  # text before an image's tokens
    token: ClassVar[str]  # text of one image token
    after: ClassVar[str] = ""
    gap: ClassVar[str] = "\n"  # between images in front and what follows
    chat_template: ClassVar[str | None] = None  # instead of the folder's
    end_of_turn: ClassVar[str | None] = None  # instead of the tokenizer's end token

    thumbnail_tiles: int = 1  # of a :meth:`thumbnail`, as costs are counted
    whole_first: ClassVar[bool] = False  # an image's first tile, not its last, shows all of it

    tile: int
    tokens_per_tile: int

    def __init__(
        self, path: Path, config: Any, stored: dict[str, Any], settings: dict[str, Any]
    ) -> None:
        """Read what the folder at ``path`` and the run say; ``stored`` is its preprocessing.

        Raises:
            InputError: an image size that the model cannot take.
        """
        self.config = config
        self.mean, self.std = tuple(stored["image_mean"]), tuple(stored["image_std"])
        self.max_tiles: int = settings["max_tiles"]

    @staticmethod
    def only_size(path: Path, size: int, settings: dict[str, Any]) -> int:
        """The one tile size of a model.

        Raises:
            InputError: the run asks for another one.
        """
        if settings["image_size"] not in (None, size):
            raise InputError(
                f"backbone.image_size {settings['image_size']}: {path} takes {size} only."
            )
        return size

    # --- images ---

    def marks(self, tiles: Any) -> str:
        """The text that stands for an image with this :meth:`tile_count`."""
        return f"{self.before}{self.token * (tiles * self.tokens_per_tile)}{self.after}"

    def tile_count(self, width: int, height: int) -> Any:
        """Tiles of an image of this size: one, unless the family cuts images up.

        Columns and rows where the text shows the grid.
        """
        return 1

    def tile_counts(self, sizes: list[tuple[int, int]]) -> list[Any]:
        """The :meth:`tile_count` of each image of a row."""
        return [self.tile_count(*size) for size in sizes]

    def pixels(self, images: list[Image]) -> Any:
        """A row's images, ready for :meth:`batch`: here uint8 ``(tiles, 3, tile, tile)``."""
        import torch

        return torch.cat([self.thumbnail(image) for image in images])

    def thumbnail(self, image: Image) -> Tensor:
        """A whole image as one tile, uint8 ``(1, 3, tile, tile)``."""
        return self.tensor([tiling.thumbnail(image, self.tile)])

    def tensor(self, tiles: list[Image]) -> Tensor:
        """Tiles as pixel values, uint8 ``(tiles, 3, tile, tile)``."""
        import torch

        return torch.from_numpy(tiling.pixels(tiles))

    def batch(self, rows: list[Any], ids: Tensor) -> dict[str, Tensor]:
        """Inputs of a batch with token ids ``(B, T)`` from its rows' :meth:`pixels`, which the
        model takes once they are :meth:`normalised`."""
        import torch

        return {"pixel_values": torch.cat(rows)}

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixel values as the model takes them, float32: ``(..., 3, height, width)`` from uint8.

        Done where the model is: they travel as bytes, and a CPU takes long for it.
        """
        import torch

        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        return (pixels.float() / 255 - mean) / std

    def owners(self, inputs: dict[str, Tensor]) -> Tensor:
        """The sample that each tile of a :meth:`batch` belongs to, ``(tiles,)``."""
        import torch

        ids = inputs["input_ids"]
        tokens = (ids == self.config.image_token_id).sum(dim=1)  # (B,)
        samples = torch.arange(len(ids), device=ids.device)
        return samples.repeat_interleave(tokens // self.tokens_per_tile)

    # --- features ---

    @property
    def vision_width(self) -> int:
        """Width of the vision encoder's states."""
        return self.config.vision_config.hidden_size

    def vision_states(self, model: nn.Module, thumbnails: Tensor) -> Tensor:
        """Last hidden states of thumbnails, ``(B, tokens, vision_width)``."""
        return model.model.vision_tower(pixel_values=thumbnails).last_hidden_state

    def language_model(self, model: nn.Module) -> nn.Module:
        """The language model without its head."""
        return model.model.language_model

"""Scenes as training batches, made on the fly in a data-loading process."""

from collections.abc import Iterator

import torch
from torch.utils.data import IterableDataset

from stages.pocket import alignment
from stages.pocket.assemble_backbone import image_tokens
from stages.pocket.packing import pack
from stages.pocket.pool import Pool
from stages.pocket.questions import make_turns
from stages.pocket.scenes import make_scene


class Scenes(IterableDataset):
    """Scene number ``first``, ``first + 1``, ... of a pool, labelled for one phase."""

    def __init__(
        self, pool: Pool, tokenizer, settings: dict, phase: str, seed: int, first: int, length: int
    ) -> None:
        self.pool, self.tokenizer, self.settings, self.phase = pool, tokenizer, settings, phase
        self.first, self.length = first + seed * 10**9, length
        self.size = settings["size"]["height"]
        self.tokens = image_tokens(self.size)
        self.labeller = alignment.CellLabeller(tokenizer, int(self.tokens**0.5))

    def __iter__(self) -> Iterator[tuple]:
        torch.set_num_threads(1)
        number = self.first
        while True:
            scene = make_scene(self.pool, self.size, number)
            if self.phase == "words":
                yield scene.image, self.labeller.label(scene)
            else:
                turns = make_turns(scene, self.pool, number)
                yield scene.image, pack(self.tokenizer, turns, self.tokens, self.length)
            number += 1

    def collate(self, samples: list[tuple]) -> tuple:
        """(pixels, cells of the batch) or (pixels, padded packed turns)."""
        images, labels = zip(*samples, strict=True)
        images = alignment.pixels(
            list(images), self.settings["image_mean"], self.settings["image_std"]
        )
        if self.phase == "words":
            return images, list(labels)
        return images, alignment.collate(list(labels))

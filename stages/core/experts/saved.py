"""Experts on disk, of which those that were used last are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.experts.lora import ExpertModel

if TYPE_CHECKING:
    from torch import nn

    from stages.core.backbone.load import Backbone

KEPT = 8  # experts in memory, unless more answer together


class SavedExperts:
    """Any number of experts; one is read when it is first used, and the least recently used is
    dropped when there are more than ``KEPT``."""

    def __init__(self, backbone: Backbone, states: dict[str, Path]) -> None:
        """Of these folders, by the experts' names."""
        self.states = states
        self._model = ExpertModel(backbone)
        self.loaded: list[str] = []  # least recently used first

    @contextmanager
    def using(self, names: list[str]) -> Iterator[nn.Module]:
        """The model with these experts active; with none, the untouched backbone."""
        for name in names:
            if name not in self.loaded:
                self._model.load(name, self.states[name])
        self.loaded = [name for name in self.loaded if name not in names] + list(names)
        with self._model.using(names) as model:
            while names and len(self.loaded) > max(KEPT, len(names)):
                self._model.drop(self.loaded.pop(0))
            yield model

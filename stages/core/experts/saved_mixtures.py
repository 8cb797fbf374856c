"""Mixtures on disk, of which one at a time is in the backbone's slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.experts.mixtures import Mixture, read_state

if TYPE_CHECKING:
    from torch import nn

    from stages.core.backbone.load import Backbone


class SavedMixtures:
    """Saved mixtures, read when they are used; the last one stays in the backbone's slots."""

    def __init__(
        self,
        backbone: Backbone,
        states: dict[str, Path],
        build: Callable[[Backbone, dict[str, Any]], Mixture],
    ) -> None:
        """Of these folders; ``build`` makes the mixture that a state's notes describe."""
        self.backbone, self.states, self.build = backbone, states, build
        self.inserted: tuple[str, Mixture] | None = None

    @contextmanager
    def using(self, names: list[str]) -> Iterator[nn.Module]:
        """The model with the state of this name; with none, the untouched backbone."""
        for name in names:
            self._insert(name)
        if self.inserted is None:
            yield self.backbone.model
        else:
            with self.inserted[1].using(names) as model:
                yield model

    def _insert(self, name: str) -> None:
        if self.inserted and self.inserted[0] == name:
            return
        notes, tensors = read_state(self.states[name])
        if self.inserted:
            self.inserted[1].remove()
            self.inserted = None
        mixture = self.build(self.backbone, notes)
        try:
            mixture.restore(tensors, self.states[name])
        except InputError:
            mixture.remove()
            raise
        mixture.requires_grad_(False).eval()
        self.inserted = name, mixture

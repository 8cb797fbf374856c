"""Methods whose states are mixtures instead of PEFT folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.mixtures import Mixture
    from stages.core.experts.saved_mixtures import SavedMixtures

    Run = Callable[..., list[list[float]]]


class MixtureMethod(Method):
    """A method whose states are mixtures (``core.experts.mixtures``) instead of PEFT folders."""

    def build(
        self, backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
    ) -> Mixture:
        """The mixture that a state's notes describe."""
        raise NotImplementedError

    def save(self, model: Mixture, job: Job, folder: Path) -> None:
        model.save(folder)

    def load(self, backbone: Backbone, states: dict[str, Path]) -> SavedMixtures:
        from stages.core.experts.saved_mixtures import SavedMixtures

        return SavedMixtures(backbone, states, self.build)

    def answering(self, backbone: Backbone, states: dict[str, Path]) -> SavedMixtures:
        return self.load(backbone, states)

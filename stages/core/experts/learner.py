"""What a method trains: a PEFT expert or a mixture, as far as methods and stages see it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from stages.core.backbone.losses import token_losses
from stages.core.backbone.prompts import IGNORE

if TYPE_CHECKING:
    from torch import Tensor, nn


class Answering(Protocol):
    """A backbone with saved states, any of which can answer."""

    def using(self, names: list[str]) -> AbstractContextManager[nn.Module]:
        """The model with these states active; with none, the untouched backbone."""


class Learner(Answering, Protocol):
    """A model with parameters that learn beside the frozen backbone; implemented once for PEFT
    experts (``lora.ExpertModel``) and once for mixtures (``mixtures.Mixture``)."""

    @property
    def model(self) -> nn.Module:
        """The model to call."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name, in a fixed order."""

    def answer_loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy of the answer tokens."""

    def share(self, batch: dict[str, Any]) -> Tensor | float:
        """This batch's part of the answer tokens of its optimiser step."""


class AnswerLoss:
    """The loss of every learner, for a class with ``model``."""

    model: nn.Module

    def answer_loss(self, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy of the answer tokens; the mean is over ``batch["n_answer_tokens"]``
        (tokens of the whole optimiser step) where given, else over the batch's own."""
        losses, _ = token_losses(self.model, batch)
        return losses.sum() / batch.get("n_answer_tokens", losses.numel())

    def share(self, batch: dict[str, Any]) -> Tensor | float:
        """This batch's part of the answer tokens of its optimiser step (1 if it is the whole).

        A penalty on parameters is multiplied by it: the losses of the accumulated batches of a
        step are summed, and the penalty must count once.
        """
        own = (batch["labels"] != IGNORE).sum()
        return own / batch.get("n_answer_tokens", own)

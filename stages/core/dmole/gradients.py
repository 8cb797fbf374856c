"""Gradient norms of the slots on a subset of a task (D-MoLE, Eq. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.core.backbone.batches import BatchSize, by_length, training_size
from stages.core.backbone.checkpointing import checkpointed
from stages.core.base import distributed
from stages.core.base.ahead import ahead
from stages.core.base.halving import halving

if TYPE_CHECKING:
    from torch import Tensor

    from stages.core.backbone.load import Backbone


FOLDS = 8


def profile_gradients(
    backbone: Backbone,
    rows: list[dict[str, Any]],
    *,
    loss: str,
    include_bias: bool,
    batch_size: BatchSize,
    checkpointing: bool = False,
) -> list[dict[str, Any]]:
    """Slot scores of a backbone on rows of the data artefact; nothing is updated.

    The folds are divided among the processes. The loss is the mean over samples of the mean over
    answer tokens (``sample_mean``) or the mean over all answer tokens (``token_mean``). Gradients
    accumulate in float32.

    Args:
        checkpointing: blocks compute their activations again instead of keeping them.

    Returns:
        one row per slot, see ``artifacts.PROFILE``; the score is the root of the sum of squares
        over the weights of the slot's linears, with ``include_bias`` plus that over their biases,
        as in the published code.
    """
    import numpy as np

    meter = GradientMeter(backbone, include_bias)
    folds = [rows[i::FOLDS] for i in range(min(FOLDS, len(rows)))]
    found, most = [], len(rows)
    with checkpointed(backbone.model, checkpointing):
        for fold in distributed.mine(folds):
            sizes = [training_size(backbone.prompter, row) for row in fold]
            batches = by_length(fold, sizes, batch_size)

            def run(
                size: int, batches: list[list[dict[str, Any]]] = batches
            ) -> tuple[float, float]:
                meter.open_fold()
                return _accumulate(backbone, batches, loss, size)

            start = min(most, max(map(len, batches)))
            (fold_loss, weight), enough = halving(run, start, "gradient profile")
            most = enough if enough < start else most
            found.append((fold_loss, weight, meter.close_fold(weight)))
    parts = distributed.gather(found)
    losses, weights, norms = zip(*(fold for part in parts for fold in part), strict=True)
    scores = meter.norms(sum(weights))
    meter.detach()
    errors = np.std(norms, axis=0, ddof=1) / len(folds) ** 0.5 if len(folds) > 1 else None
    return [
        {
            "tower": slot.tower,
            "block": slot.block,
            "slot": slot.kind,
            "score": float(scores[i]),
            "standard_error": None if errors is None else float(errors[i]),
            "parameters": sum(rows * columns for rows, columns in slot.shapes),
            "n_samples": len(rows),
            "mean_loss": sum(losses) / sum(weights),
        }
        for i, slot in enumerate(backbone.slots)
    ]


def _accumulate(
    backbone: Backbone, batches: list[list[dict[str, Any]]], loss: str, most: int
) -> tuple[float, float]:
    """Run backward on the *summed* loss of rows, at most so many at a time; return the sum and the
    number to divide it by."""
    from stages.core.backbone.losses import sample_losses, token_losses

    prompter, total, weight = backbone.prompter, 0.0, 0
    parts = [rows[i : i + most] for rows in batches for i in range(0, len(rows), most)]

    def examples(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [prompter.training_example(row) for row in part]

    for _, made in ahead(parts, examples, backbone.workers):
        batch = backbone.to_device(prompter.collate(made))
        if loss == "sample_mean":
            losses = sample_losses(backbone.model, batch)
        else:
            losses, _ = token_losses(backbone.model, batch)
        losses.sum().backward()
        total, weight = total + float(losses.detach().sum()), weight + losses.numel()
    return total, float(weight)


class GradientMeter:
    """Float32 gradient sums of the slots' weights: of the current fold beside the weights, of all
    rows in the host's memory. A weight's gradient is freed as soon as it has been added."""

    def __init__(self, backbone: Backbone, include_bias: bool) -> None:
        import torch

        modules = dict(backbone.model.named_modules())
        self.parameters: list[tuple[list[Tensor], list[Tensor]]] = []  # weights, biases
        for slot in backbone.slots:
            linears = [modules[name] for name in slot.linears]
            biases = [m.bias for m in linears if include_bias and m.bias is not None]
            self.parameters.append(([m.weight for m in linears], biases))
        flat = [p for groups in self.parameters for group in groups for p in group]
        self.fold = {id(p): torch.zeros_like(p, dtype=torch.float32) for p in flat}
        self.total = {id(p): torch.zeros(p.shape, dtype=torch.float32) for p in flat}
        self.flat = [p.requires_grad_(True) for p in flat]
        self.hooks = [p.register_post_accumulate_grad_hook(self._take) for p in flat]

    def _take(self, parameter: Tensor) -> None:
        self.fold[id(parameter)] += parameter.grad
        parameter.grad = None

    def _norms(self, weight: float) -> list[float]:
        """Norms of the sums in ``fold``, divided by ``weight``."""

        def norm(group: list[Tensor]) -> float:
            return sum(float(self.fold[id(p)].double().square().sum()) for p in group) ** 0.5

        return [(norm(weights) + norm(biases)) / weight for weights, biases in self.parameters]

    def open_fold(self) -> None:
        """Start from zero."""
        for parameter in self.flat:
            self.fold[id(parameter)].zero_()
            parameter.grad = None

    def close_fold(self, weight: float) -> list[float]:
        """Norms of the fold's mean gradient per slot; adds the fold to the total."""
        for key, value in self.fold.items():
            self.total[key] += value.cpu()
        return self._norms(weight)

    def norms(self, weight: float) -> list[float]:
        """Norms of the mean gradient over all folds of all processes, per slot."""
        for key, sums in self.fold.items():
            sums.copy_(self.total[key])
            distributed.add_up(sums)
        return self._norms(weight)

    def detach(self) -> None:
        """Leave the backbone as it was: frozen, no hooks."""
        for hook in self.hooks:
            hook.remove()
        for parameter in self.flat:
            parameter.requires_grad_(False)

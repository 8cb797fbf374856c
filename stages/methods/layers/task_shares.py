"""Mixtures whose gate also knows which experts a whole task uses most (CL-MoE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stages.core.experts.gates import TokenGate, keep_top
from stages.core.experts.mixtures import Mixture
from stages.methods.layers.anchors import near
from stages.methods.layers.embeddings import prompt_batches

if TYPE_CHECKING:
    from datasets import Dataset


class TaskShareGate(TokenGate):
    """``local softmax(W_g x) + (1 - local) g``, g the shares of the row's task (``now.given``).

    The shares of a task that is still learning are zero, and the token's own gate decides alone.
    """

    def __init__(self, width: int, experts: int, tasks: int, local: float) -> None:
        super().__init__(width, experts)
        zeros = (nn.Parameter(torch.zeros(experts), requires_grad=False) for _ in range(tasks))
        self.tasks = nn.ParameterList(zeros)
        self.local = local

    def forward(self, x: Tensor) -> Tensor:
        """Weights of every token, float32 ``(rows, length, N)``."""
        own = super().forward(x)
        shares = self.by_row(torch.stack(list(self.tasks))[self.now.given], x)[:, None]
        finished = shares.sum(dim=-1, keepdim=True)  # 1, or 0 of a task that is learning
        return own + (1 - self.local) * (shares - finished * own)

    def used_most(self) -> Tensor:
        """Which experts each task uses most, bool ``(tasks, N)``."""
        return torch.stack(list(self.tasks)) > 0


def nearest_task(model: Mixture, inputs: dict[str, Any]) -> Tensor:
    """The task whose anchors are nearest to each prompt, by image and text together, ``(B,)``."""
    by_image, by_text = near(model, inputs)
    return (by_image + by_text).argmax(dim=1)


@torch.no_grad()
def count_choices(model: Mixture, rows: Dataset, size: int, top: int) -> None:
    """Set the last task's shares: how often an expert is among the ``top`` of a prompt's token,
    of the ``top`` most frequent ones, summing to 1; zero in a slot that no row reached."""
    counts: dict[str, Tensor] = {}

    def counting(name: str) -> Callable[..., None]:
        def count(gate: TaskShareGate, args: Any, weights: Tensor) -> None:
            real = gate.now.mask.bool() if gate.tower == "llm" else ...
            number = weights.shape[-1]
            chosen = weights[real].topk(min(top, number), dim=-1).indices.flatten()
            counts[name] = counts.get(name, 0) + torch.bincount(chosen, minlength=number)

        return count

    hooks = [slot.gate.register_forward_hook(counting(name)) for name, slot in model.slots.items()]
    model.eval()
    for batch in prompt_batches(model.backbone, rows, size):
        model.model(**batch, logits_to_keep=1, use_cache=False)
    for hook in hooks:
        hook.remove()
    for name, seen in counts.items():
        shares = keep_top((seen / seen.sum())[None], top)[0]
        model.slots[name].gate.tasks[-1].copy_(shares)


@torch.no_grad()
def blend(model: Mixture, before: Mapping[str, Tensor], momentum: float, source: str) -> None:
    """Draw every expert back to what it was before the task: ``theta = l before + (1 - l) now``.

    ``l`` is ``momentum``, and ``1 - momentum`` of the experts that of all tasks only the last one
    uses most (``source: paper``), or that the task before uses most and the last one does not
    (``code``).

    Args:
        before: tensors of the state of the task before.
    """
    for name, slot in model.slots.items():
        *earlier, now = slot.gate.used_most()
        free = now & ~torch.stack(earlier).any(dim=0) if source == "paper" else earlier[-1] & ~now
        for leaf, linear in slot.linears.items():
            for part, matrices in (("a", linear.a), ("b", linear.b)):
                for i, matrix in enumerate(matrices):
                    old = before[f"slots.{name}.linears.{leaf}.{part}.{i}"].to(matrix)
                    matrix.lerp_(old, 1 - momentum if free[i] else momentum)

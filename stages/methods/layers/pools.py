"""Pools of LoRA blocks: every task adds one to all slots, those before are frozen (ProgLoRA).

``y = W x + s sum_j w_j B_j A_j x`` with one weight vector per sample, shared by all slots. What
the weights depend on is computed of the prompt's instruction, in the backbone's own embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.experts.gates import SampleGate, fresh_matrix
from stages.core.experts.mixtures import Mixture, read_state
from stages.methods.layers.embeddings import image_tokens, instruction_tokens, prompt_batches

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone

Pooling = Callable[[Mixture, dict[str, Any]], Tensor]  # inputs of a pass -> (B, d)


def grown(
    folder: Path | None, task: str, ranks: dict[str, int], scale: float
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Notes of the pool with the task's block added, and the tensors of the pool before.

    Args:
        folder: state of the task before; None at the first.
        ranks: the new block's, by slot.
    """
    before, tensors = read_state(folder) if folder else ({}, {})
    blocks = before.get("ranks", {})
    notes = before | {
        "tasks": [*before.get("tasks", []), task],
        "ranks": {name: [*blocks.get(name, []), rank] for name, rank in ranks.items()},
        "scale": scale,
    }
    return notes, tensors


def build_pool(
    backbone: Backbone, notes: dict[str, Any], extra: nn.Module, *, dropout: float, seed: int
) -> Mixture:
    """The pool that a state's notes describe; of its blocks only the last learns."""
    pool = Mixture(
        backbone,
        notes["ranks"],
        lambda slot, blocks: SampleGate(),
        scale=notes["scale"],
        dropout=dropout,
        seed=seed,
        extra=extra,
        notes=notes,
    )
    for slot in pool.slots.values():
        for linear in slot.linears.values():
            for matrix in [*linear.a[:-1], *linear.b[:-1]]:
                matrix.requires_grad_(False)
    return pool


# --- prompts --------------------------------------------------------------------------------


@torch.no_grad()
def max_prompt(pool: Mixture, inputs: dict[str, Any]) -> Tensor:
    """Max over the embeddings of each sample's instruction tokens, float32 ``(B, d)``."""
    tokens = pool.model.get_input_embeddings()(inputs["input_ids"]).float()  # (B, T, d)
    text = instruction_tokens(pool, inputs)[..., None]
    return tokens.masked_fill(~text, -math.inf).amax(dim=1)


@torch.no_grad()
def max_prompt_and_image(pool: Mixture, inputs: dict[str, Any]) -> Tensor:
    """The same over the projected image tokens too, float32 ``(B, d)``."""
    found = max_prompt(pool, inputs)
    if inputs.get("pixel_values") is None:
        return found
    owner = (inputs["input_ids"] == pool.model.config.image_token_id).nonzero()[:, :1]
    images = image_tokens(pool, inputs).float()
    return found.scatter_reduce(0, owner.expand_as(images), images, "amax")


@torch.no_grad()
def mean_prompt(pool: Mixture, inputs: dict[str, Any]) -> Tensor:
    """Mean of the embeddings of each sample's instruction tokens, float32 ``(B, d)``."""
    tokens = pool.model.get_input_embeddings()(inputs["input_ids"]).float()  # (B, T, d)
    text = instruction_tokens(pool, inputs)[..., None]
    return (text * tokens).sum(dim=1) / text.sum(dim=1)


def prompts_of(pool: Mixture, rows: Dataset, size: int, pooling: Pooling) -> Tensor:
    """The pooled prompts of rows ``(n, d)``, read in batches of ``size``."""
    return torch.cat([pooling(pool, b) for b in prompt_batches(pool.backbone, rows, size)])


# --- what ProgLoRA learns or keeps beside the blocks --------------------------------------------


class Selector(nn.Module):
    """Query net, a key per block, and what is remembered of finished tasks' prompts."""

    def __init__(
        self,
        blocks: int,
        width: int,
        bottleneck: int,
        memories: Sequence[int],
        *,
        source: str = "paper",
    ) -> None:
        """All but the last key and the query net is frozen.

        Args:
            memories: number of remembered prompts of each finished task.
            source: whose query it is, see :meth:`query`.
        """
        super().__init__()
        self.source = source
        self.down, self.up = fresh_matrix(bottleneck, width), fresh_matrix(width, bottleneck)
        self.norm = nn.LayerNorm(width)
        # small, so that all blocks start with about the same weight
        self.keys = nn.ParameterList(fresh_matrix(1, width) for _ in range(blocks))
        self.keys[:-1].requires_grad_(False)
        self.memories = nn.ParameterList()
        for count in memories:
            self.remember(torch.zeros(count, width))

    def remember(self, prompts: Tensor) -> None:
        """Keep pooled prompts ``(n, d)`` of the task that is finished."""
        self.memories.append(nn.Parameter(prompts, requires_grad=False))

    def query(self, prompts: Tensor) -> Tensor:
        """``LayerNorm(W2 SiLU(W1 prompt))``, in the released code ``LayerNorm(SiLU(W2 W1
        prompt))``: (n, d) -> (n, d)."""
        inner = F.linear(prompts, self.down)
        if self.source == "code":
            return self.norm(F.silu(F.linear(inner, self.up)))
        return self.norm(F.linear(F.silu(inner), self.up))

    def scores(self, prompts: Tensor) -> Tensor:
        """``K q / sqrt(d)``: (n, d) -> (n, blocks)."""
        keys = torch.cat(list(self.keys))
        return F.linear(self.query(prompts), keys) / math.sqrt(prompts.shape[-1])

    def forward(self, prompts: Tensor) -> Tensor:
        """Joint softmax over the keys of all blocks: the blocks' weights ``(n, blocks)``."""
        return self.scores(prompts).softmax(dim=-1)

    def recall(self, allocations: Sequence[Sequence[float]]) -> Tensor:
        """``KL(stored, zero-padded || weights now)``, mean over each memory and over the tasks.

        Args:
            allocations: the mean weights of each finished task when it was finished.
        """
        terms = []
        for allocation, prompts in zip(allocations, self.memories, strict=True):
            stored = torch.tensor(allocation, device=prompts.device)
            now = self.scores(prompts).log_softmax(dim=-1)[:, : len(stored)]
            terms.append((torch.xlogy(stored, stored) - stored * now).sum(dim=-1).mean())
        return torch.stack(terms).mean()


class Prototypes(nn.Module):
    """A frozen vector per task: the mean prompt."""

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        vectors = (nn.Parameter(torch.zeros(width), requires_grad=False) for _ in range(tasks))
        self.vectors = nn.ParameterList(vectors)

    def row(self, temperature: float) -> Tensor:
        """``softmax(cos(p_t, p_k) / temperature)`` of the last task t over all k <= t, ``(t,)``."""
        every = torch.stack(list(self.vectors))
        return (F.cosine_similarity(every[-1:], every, dim=-1) / temperature).softmax(dim=-1)

"""Blocks of two kinds, for what is seen and for what is asked, one of each per sample (SMoLoRA)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.core.backbone.features import feature_sizes
from stages.core.backbone.generic_prompts import PROMPTS
from stages.core.backbone.prompts import IGNORE
from stages.core.experts.gates import Gate, fresh_matrix
from stages.core.experts.mixtures import LowRank, Mixture
from stages.core.experts.ranks import width_of
from stages.methods.layers.embeddings import prompt_batches
from stages.methods.layers.halves import text_halves

if TYPE_CHECKING:
    from datasets import Dataset

    from stages.core.backbone.load import Backbone


# --- layers ---------------------------------------------------------------------------------


class Fused(LowRank):
    """``f_1 u_1 + f_2 u_2`` of a linear, per token, ``f = softmax(s c_1 u_1, s c_2 u_2)``.

    u_1 is the weighted sum of the first half of the blocks, u_2 that of the second half.
    """

    def __init__(self, shape: tuple[int, int], *how: Any, scale: float) -> None:
        super().__init__(shape, *how)
        self.fusion = fresh_matrix(2, shape[0])  # c_1, c_2
        self.scale = scale

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x, weights ``(rows, 1 or length, N)`` -> ``(rows, length, out)``."""
        x = self.dropout(x.to(self.b[0].dtype))
        inner = [weights[..., i, None] * F.linear(x, a) for i, a in enumerate(self.a)]
        half, b = len(inner) // 2, list(self.b)
        both = torch.stack(
            [
                F.linear(torch.cat(inner[kind], dim=-1), torch.cat(b[kind], dim=1))
                for kind in (slice(half), slice(half, None))
            ],
            dim=-1,
        )  # (rows, length, out, 2)
        scores = torch.einsum("rlok,ko->rlk", self.scale * both, self.fusion)
        return torch.einsum("rlok,rlk->rlo", both, scores.softmax(dim=-1))


class SeparableGate(Gate):
    """One block of each kind per row: by the mean of the prompt's tokens, and by the request.

    ``now.given`` holds of each sample the request's vector and, for each token, whether it is the
    prompt's. The blocks are chosen when the prompt is read, and kept while it is answered.
    """

    def __init__(self, width: int, text_width: int, blocks: int) -> None:
        super().__init__()
        self.seen, self.asked = fresh_matrix(blocks, width), fresh_matrix(blocks, text_width)
        self.chosen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Weights 0 and 1 of every row, float32 ``(rows, 1, N)``."""
        if self.now.prompt:
            given, width = self.by_row(self.now.given, x), self.asked.shape[1]
            mean = self._mean(x.float(), given[:, width:])
            kinds = F.linear(mean, self.seen), F.linear(given[:, :width], self.asked)
            self.chosen = torch.cat([largest(scores) for scores in kinds], dim=-1)[:, None]
        return self.chosen

    def _mean(self, x: Tensor, prompt: Tensor) -> Tensor:
        """Of a tile's tokens, or of the prompt's: ``(rows, in)``."""
        if self.tower == "vision":
            return x.mean(dim=1)
        return torch.einsum("bt,btd->bd", prompt, x) / prompt.sum(dim=1, keepdim=True)


def largest(scores: Tensor) -> Tensor:
    """1 at the largest score of each row, else 0; where gates learn, with the softmax's
    gradient."""
    hard = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).float()
    if not scores.requires_grad:
        return hard
    soft = scores.softmax(dim=-1)
    return hard + soft - soft.detach()


class Requests(nn.Module):
    """A vector per task: its mean text half less that of requests in general; frozen."""

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(width), requires_grad=False)
        zeros = (nn.Parameter(torch.zeros(width), requires_grad=False) for _ in range(tasks))
        self.tasks = nn.ParameterList(zeros)

    def nearest(self, texts: Tensor) -> Tensor:
        """The vector with the largest cosine to each text half, ``(B, d_t)`` of ``(B, d_t)``."""
        known = torch.stack(list(self.tasks))
        cosines = F.cosine_similarity((texts - self.centre)[:, None], known, dim=-1)
        return known[cosines.argmax(dim=-1)]


# --- building -------------------------------------------------------------------------------


def build(
    backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
) -> Mixture:
    """The mixture that a state's notes describe; a sample's request is that of the nearest
    task."""
    width = feature_sizes(backbone)[1]
    model = Mixture(
        backbone,
        notes["ranks"],
        lambda slot, blocks: SeparableGate(width_of(slot), width, blocks // 2),
        scale=notes["scale"],
        dropout=dropout,
        seed=seed,
        low_rank=partial(Fused, scale=notes["scale"]),
        extra=Requests(len(notes["tasks"]), width),
        notes=notes,
    )
    model.describe = lambda inputs: given(
        model.extra.nearest(text_halves(model, inputs)), inputs["attention_mask"]
    )
    return model


def given(requests: Tensor, prompt: Tensor) -> Tensor:
    """What gates are told: request vectors ``(B, d_t)`` and the prompt's tokens ``(B, T)``."""
    return torch.cat([requests, prompt.to(requests)], dim=1)


def told(model: Mixture, batch: dict[str, Any]) -> Tensor:
    """The same of a batch of training, which asks for the last task."""
    prompt = (batch["labels"] != IGNORE).cumsum(dim=1) == 0
    request = model.extra.tasks[-1].expand(len(prompt), -1)
    return given(request, prompt & batch["attention_mask"].bool())


@torch.no_grad()
def learn_request(model: Mixture, rows: Dataset, size: int) -> None:
    """Set the last task's vector; before the first task also what requests have in common."""
    from datasets import Dataset

    def mean(of: Dataset) -> Tensor:
        halves = [text_halves(model, batch) for batch in prompt_batches(model.backbone, of, size)]
        return torch.cat(halves).mean(dim=0)

    if len(model.extra.tasks) == 1:
        asked = [[{"question": text, "answer": ""}] for text in PROMPTS]
        fixed = {"sample_id": "", "images": [], "width": None}
        model.extra.centre.copy_(mean(Dataset.from_list([fixed | {"turns": t} for t in asked])))
    model.extra.tasks[-1].copy_(mean(rows) - model.extra.centre)

"""Branches that share one A, with a gate per task: the layers of BranchLoRA."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stages.core.backbone.features import feature_sizes
from stages.core.backbone.load import Backbone
from stages.core.experts.gates import SequenceGate
from stages.core.experts.mixtures import Mixture
from stages.core.experts.ranks import width_of
from stages.methods.layers.embeddings import TaskKeys, mean_embeddings, prompt_batches

if TYPE_CHECKING:
    from datasets import Dataset

Describe = Callable[[dict[str, Any]], Tensor]  # inputs of a prompt -> task of each sample (B,)


def build(
    backbone: Backbone, notes: dict[str, Any], *, dropout: float = 0.0, seed: int = 0
) -> Mixture:
    """The mixture that a state's notes describe; each sample uses the nearest task's gate."""
    tasks = len(notes["tasks"])
    model = Mixture(
        backbone,
        notes["ranks"],
        lambda slot, branches: SequenceGate(width_of(slot), branches, tasks, top_k=2),
        scale=notes["scale"],
        dropout=dropout,
        seed=seed,
        one_a=True,
        extra=TaskKeys(tasks, feature_sizes(backbone)[1]),
        notes=notes,
    )
    model.describe = nearest_task(model)
    return model


def freeze(model: Mixture) -> None:
    """Stop the branches that the notes name; warn where a slot has no other."""
    spent = 0
    for name, slot in model.slots.items():
        frozen = model.notes["frozen"].get(name, [])
        spent += len(frozen) == len(model.ranks[name])
        for linear in slot.linears.values():
            for branch in frozen:
                linear.b[branch].requires_grad_(False)
    if spent:
        warnings.warn(f"all branches of {spent} slots are frozen; A and router learn", stacklevel=2)


def known_task(model: Mixture) -> Describe:
    """Every sample belongs to the last task: in training."""
    return lambda inputs: inputs["input_ids"].new_full(
        inputs["input_ids"].shape[:1], len(model.notes["tasks"]) - 1
    )


def nearest_task(model: Mixture) -> Describe:
    """Every sample belongs to the task with the nearest keys: at test."""
    return lambda inputs: model.extra.nearest(mean_embeddings(model, inputs))


def start_keys(model: Mixture, rows: Dataset, size: int) -> None:
    """The new task's keys at the mean of its rows' embeddings."""
    batches = prompt_batches(model.backbone, rows, size)
    model.extra.start(torch.cat([mean_embeddings(model, batch) for batch in batches]))


def activity(model: Mixture, rows: Dataset, size: int) -> dict[str, list[float]]:
    """Summed pi of every branch over the rows, by slot; slots that no row reached are left out."""
    model.eval()
    sums: dict[str, Tensor] = {}
    for batch in prompt_batches(model.backbone, rows, size):
        for slot in model.slots.values():
            slot.gate.shares = None
        with torch.no_grad():
            model.model(**batch, logits_to_keep=1, use_cache=False)
        for name, slot in model.slots.items():
            if slot.gate.shares is not None:  # a batch of texts does not reach the vision encoder
                sums[name] = sums.get(name, 0) + slot.gate.shares.sum(dim=0)
    return {name: total.tolist() for name, total in sums.items()}

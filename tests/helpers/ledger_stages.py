"""The GPU stages' own code on published shapes under the ledger of memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from stages.core.backbone import decoding, features
from stages.core.backbone.architecture import describe, read_config
from stages.core.backbone.checkpointing import checkpointed
from stages.core.backbone.families import registry as families
from stages.core.backbone.load import Backbone
from stages.core.backbone.slots import find_slots
from stages.core.costs import memory
from stages.core.costs.flops import Learning, Sample, SlotRanks
from stages.core.costs.memory import Memory
from stages.core.dmole import gradients
from stages.core.experts.lora import ExpertModel
from tests.helpers.ledger import Cuda, Ledger
from tests.helpers.published_shapes import IMAGES, write_shape

QUESTION, ANSWER = 90, 20  # tokens of a row beside its image's
DROPOUT = 0.05


class Shape:
    """A published backbone without weights, and rows for it."""

    def __init__(self, name: str, folder: Path, max_tiles: int = 16) -> None:
        from transformers import AutoModelForImageTextToText

        config, stored = read_config(write_shape(name, folder))
        settings = {"image_size": None, "max_tiles": max_tiles}
        self.family = families.FAMILIES[config.model_type](folder, config, stored, settings)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
        model.tie_weights()
        model.requires_grad_(False).eval()
        self.arch = describe(model, self.family, name)
        prompter = SimpleNamespace(
            images=self.family,
            tokenizer=SimpleNamespace(
                pad_token_id=0, eos_token_id=0, batch_decode=lambda ids, **_: [""] * len(ids)
            ),
            training_ids=lambda row: ([7], [8]),
            training_example=lambda row: row,
            collate=lambda rows: self.batch(len(rows)),
        )
        self.backbone = Backbone(model, prompter, find_slots(model), torch.device("meta"), name)
        kind = "internvl_chat" if config.model_type == "internvl" else config.model_type
        count = self.family.tile_count(*IMAGES[kind])
        marks = self.family.marks(count)
        self.image_tokens = marks.count(self.family.token)
        self.tiles = self.image_tokens // self.family.tokens_per_tile
        self.sample = Sample(self.tiles, self.image_tokens + QUESTION + ANSWER, ANSWER)

    def image(self) -> Any:
        """The pixels of an image as its family has them."""
        if self.family.tokens_per_tile == 1:
            wide, high = self.family.fit(*IMAGES["qwen2_5_vl"])
            return [torch.zeros(1, 3, high, wide, dtype=torch.uint8)]
        return torch.zeros(self.tiles, 3, self.family.tile, self.family.tile, dtype=torch.uint8)

    def batch(self, count: int, answer: int = ANSWER) -> dict[str, Any]:
        """Rows of one length, the last of them padded at one place."""
        lengths = {7: QUESTION, self.family.config.image_token_id: self.image_tokens, 8: answer}
        ids = torch.cat([torch.full((count, n), token) for token, n in lengths.items()], dim=1)
        labels = ids.clone()
        labels[:, : ids.shape[1] - answer] = -100
        mask = torch.ones_like(ids)
        if count > 1:
            mask[-1, 0] = 0
        found = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        found |= self.family.batch([self.image() for _ in range(count)], ids)
        pixels = self.family.normalised(found["pixel_values"])
        return found | {"pixel_values": pixels.to(torch.bfloat16).to("meta")}


def every_second(shape: Shape, rank: int = 8) -> SlotRanks:
    """An expert on both slots of every second block."""
    return {slot.key: rank for slot in shape.backbone.slots if slot.block % 2}


@dataclass(frozen=True)
class Case:
    """A stage with so many samples at a time: what the ledger counts, what the formula says."""

    stage: str
    batch: int
    counted: int
    planned: Memory

    @property
    def ratio(self) -> float:
        """Planned of counted."""
        return self.planned.total / self.counted


def training(shape: Shape, batch: int, *, again: bool) -> Case:
    """A training step beside a frozen parent, with the moments that AdamW keeps."""
    learner, ranks = ExpertModel(shape.backbone), every_second(shape)
    for name in ("parent", "own"):
        with torch.device("meta"):
            learner.add(name, ranks, scale=2.0, dropout=DROPOUT * (name == "own"), seed=0)
    learner.activate(["parent", "own"], training="own")
    learner.model.train()
    inputs = shape.batch(batch)
    with Ledger() as ledger, Cuda(autocast=True):
        ledger.enter(learner.model.parameters())
        ledger.enter([inputs["pixel_values"]])
        own = learner.trainable().values()
        moments = [torch.zeros_like(p) for p in own for _ in range(2)]
        with checkpointed(learner.model, again):
            learner.answer_loss(inputs).backward()
    del moments
    for name in ("parent", "own"):
        learner.drop(name)
    shape.backbone.model.requires_grad_(False).eval()
    planned = memory.training(
        shape.arch, shape.sample, Learning(ranks, ranks), batch, dropout=DROPOUT,
        checkpointing=again,
    )  # fmt: skip
    return Case(f"train_expert{', checkpointing' * again}", batch, ledger.peak, planned)


def profile(shape: Shape, batch: int, *, again: bool) -> Case:
    """A profile of one fold."""
    rows: list[dict[str, Any]] = [{} for _ in range(batch)]
    with Ledger() as ledger, Cuda(), mock.patch.object(gradients, "FOLDS", 1):
        ledger.enter(shape.backbone.model.parameters())
        gradients.profile_gradients(
            shape.backbone, rows, loss="sample_mean", include_bias=False, batch_size=batch,
            checkpointing=again,
        )  # fmt: skip
    planned = memory.profile(shape.arch, shape.sample, batch, checkpointing=again)
    return Case(f"profile_gradients{', checkpointing' * again}", batch, ledger.peak, planned)


def image_features(shape: Shape, batch: int) -> Case:
    """Features of thumbnails."""
    side = math.isqrt(shape.family.thumbnail_tiles) * shape.family.tile
    with Ledger() as ledger, Cuda(), torch.no_grad():
        ledger.enter(shape.backbone.model.parameters())
        pixels = torch.empty(batch, 3, side, side, device="meta", dtype=torch.bfloat16)
        features.image_features(shape.backbone, pixels)
    planned = memory.features(shape.arch, shape.family.thumbnail_tiles, 0, batch)
    return Case("extract_features", batch, ledger.peak, planned)


def prediction(shape: Shape, batch: int, new: int = 4) -> Case:
    """Greedy decoding with the backbone alone."""
    inputs = shape.batch(batch, answer=0)
    limits = {"max_new_tokens": new, "min_new_tokens": new}
    with Ledger() as ledger, Cuda():
        ledger.enter(shape.backbone.model.parameters())
        ledger.enter([inputs["pixel_values"]])
        decoding.generate(shape.backbone.model, shape.backbone.prompter, inputs, limits)
    prompt = Sample(shape.tiles, inputs["input_ids"].shape[1], 0)
    planned = memory.prediction(shape.arch, prompt, Learning(), batch, new)
    return Case("predict", batch, ledger.peak, planned)

"""Greedy answers."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from stages.core.backbone.batches import by_length, prompt_size
from stages.core.backbone.losses import IMAGE_INPUTS
from stages.core.backbone.prompts import Prompter
from stages.core.base import distributed
from stages.core.base.ahead import ahead
from stages.core.base.halving import in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from stages.core.backbone.batches import BatchSize
    from stages.core.backbone.load import Backbone


def generate(
    model: nn.Module, prompter: Prompter, batch: dict[str, Any], limits: dict[str, int]
) -> list[str]:
    """Decode a left-padded batch greedily; return the answers as stripped text."""
    import torch

    tokenizer = prompter.tokenizer
    names = ("input_ids", "attention_mask", *IMAGE_INPUTS)
    inputs = {name: batch[name] for name in names if name in batch}
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=limits["max_new_tokens"],
            min_new_tokens=limits["min_new_tokens"] or None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    answers = output[:, batch["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]


def answer_rows(
    backbone: Backbone,
    model: nn.Module,
    rows: list[dict[str, Any]],
    limits: dict[str, int],
    batch_size: BatchSize,
    known: dict[str, str],
    done: Callable[[dict[str, str]], Any],
    share: slice = slice(None),
) -> dict[str, str]:
    """Answer rows in batches of similar length; return texts by sample id.

    The batches are divided among the processes; each gets all answers.

    Args:
        known: texts that an earlier job answered; whole batches of them are not made again.
        done: gets the texts of each finished batch.
        share: the batches to answer; with some only, the others' rows have no text.
    """
    prompter, found, longest = backbone.prompter, {}, limits["max_new_tokens"]
    batches = by_length(rows, [prompt_size(prompter, row) for row in rows], batch_size)
    left = [part for part in batches[share] if any(row["sample_id"] not in known for row in part)]

    def examples(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [prompter.generation_example(row, longest) for row in part]

    def answer(made: Sequence[dict[str, Any]]) -> list[str]:
        batch = backbone.to_device(prompter.collate(made, side="left"))
        return generate(model, prompter, batch, limits)

    for part, made in ahead(distributed.mine(left), examples, backbone.workers):
        answers = chain.from_iterable(in_parts(answer, made, "prediction"))
        texts = {row["sample_id"]: text for row, text in zip(part, answers, strict=True)}
        found |= texts
        done(texts)
    return known | {name: text for part in distributed.gather(found) for name, text in part.items()}

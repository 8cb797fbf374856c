"""Rows of a task as a training takes them: token ids, labels and lengths, asked in some words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

from stages.core.backbone.prompts import IGNORE, Prompter
from stages.core.data.markers import PLACE
from stages.core.dmole.rewording import rewordings

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 1000  # that a process is started for, to tokenise them
KIND = "task_kind"  # column of rows that may be asked in other words
Row = dict[str, Any]
Ask = Callable[[Row], Row]


def as_it_stands(row: Row) -> Row:
    """The row itself."""
    return row


def examples(
    rows: Dataset, prompter: Prompter, workers: int = 0, ask: Ask = as_it_stands
) -> Dataset:
    """Rows with ids, labels and lengths, of what ``ask`` makes of each; images are opened when a
    batch needs them.

    Args:
        workers: processes among which many rows are divided.
    """

    def encode(row: Row) -> Row:
        ids, labels = prompter.training_ids(ask(row))
        return {"input_ids": ids, "labels": labels, "length": len(ids)}

    unused = {"turns", "references", "choices", "box", KIND} & set(rows.column_names)
    processes = min(workers, len(rows) // ROWS)
    return rows.map(
        encode,
        remove_columns=sorted(unused),
        num_proc=processes if processes > 1 else None,
        desc="tokens",
    )


def asked_anew(settings: dict[str, Any], seed: int) -> list[Ask]:
    """How each epoch asks a training's rows; one for all epochs where they do not differ."""
    if not settings["prompt_variants"]:
        return [as_it_stands]
    epochs = range(ceil(settings["epochs"]))
    return [partial(in_other_words, seed=seed, epoch=epoch) for epoch in epochs]


def in_other_words(row: Row, seed: int, epoch: int) -> Row:
    """A row as it is asked in an epoch: by even chance as it stands, or with its first question in
    other words. Decided by seed, epoch and sample alone.

    Its column :data:`KIND` says of which kind of task it is. Where images stand among the words,
    the row keeps them.
    """
    import numpy as np

    first, *later = row["turns"]
    random = np.random.default_rng([seed, epoch, *row["sample_id"].encode()])
    if PLACE in first["question"] or random.random() < 0.5:
        return row
    [question] = rewordings(first["question"], row[KIND], 1, random, mistyped=False)
    return row | {"turns": [first | {"question": question}, *later]}


def with_silent(rows: Dataset, count: int) -> Dataset:
    """Append copies of the shortest row without labels, which add nothing to any loss.

    They fill the last step of an epoch when several processes share it: each needs as many rows.
    """
    from datasets import concatenate_datasets

    lengths = rows["length"][:]
    copies = rows.select([lengths.index(min(lengths))] * count)
    silent = copies.map(lambda row: {"labels": [IGNORE] * len(row["labels"])}, desc="silent rows")
    return concatenate_datasets([rows, silent])

"""Whether an earlier task's expert helps with a new task, before anything is trained beside it."""

from __future__ import annotations

from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, distributed
from stages.core.base.errors import InputError
from stages.core.experts.lora import ExpertModel

if TYPE_CHECKING:
    from torch import nn

    from stages.core.backbone.load import Backbone


def weigh(
    backbone: Backbone, rows: list[dict[str, Any]], parent: str, folder: Path, batch_size: int
) -> dict[str, Any]:
    """What ``training.json`` says of a parent: it is accepted if its frozen expert lowers the loss
    of the untouched backbone on rows of the new task.

    The loss is the mean over samples of the mean over answer tokens. Nothing is trained, and the
    backbone is left as it was.
    """
    model = ExpertModel(backbone)
    model.load(parent, folder)
    found = {}
    for name, active in (("backbone", []), ("beside", [parent])):
        with model.using(active) as view:
            found[name] = _mean_loss(backbone, view, rows, batch_size)
    model.drop(parent)
    return {"task": parent, "accepted": found["beside"] < found["backbone"], "losses": found}


def _mean_loss(
    backbone: Backbone, model: nn.Module, rows: list[dict[str, Any]], batch_size: int
) -> float:
    """Of all rows; their batches are divided among the processes."""
    import torch

    from stages.core.backbone.losses import sample_losses

    prompter, mine = backbone.prompter, []
    starts = range(0, len(rows), batch_size)
    with torch.no_grad():
        for start in distributed.mine(starts):
            examples = [prompter.training_example(row) for row in rows[start : start + batch_size]]
            batch = backbone.to_device(prompter.collate(examples))
            mine += sample_losses(model, batch).tolist()
    return fsum(loss for part in distributed.gather(mine) for loss in part) / len(rows)


def parent_beside(folder: Path, task: str) -> str | None:
    """The parent beside which a task's expert was trained, of a run that weighs them.

    Args:
        folder: of the expert.

    Raises:
        InputError: no ``training.json`` there, or one of another task.
    """
    path = Path(folder) / "training.json"
    content = artifacts.read_json("training", path)
    if content["task"] != task:
        raise InputError(f"{path}: of task {content['task']!r}, expected {task!r}.")
    weighed = content.get("parent")
    return weighed["task"] if weighed and weighed["accepted"] else None

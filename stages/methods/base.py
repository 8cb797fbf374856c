"""What a continual-learning method decides; the null method is sequential LoRA.

A method is one file with a subclass of :class:`Method` bound to ``METHOD``. Nothing here imports
torch at the top, because the Snakefile asks methods which jobs they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.core.experts import ExpertModel, Job


class Method:
    """Sequential LoRA: one adapter on every slot, trained on through the stream."""

    needs: frozenset[str] = frozenset()
    """Artefacts of the method: ``allocation``, ``transfer``, ``router``."""

    routing: str = "static"
    """``static``: the same state for every sample of a stage; ``threshold``: by autoencoders."""

    # --- the shape of the run (used by the Snakefile; no torch) ---

    def trained_tasks(self, tasks: list[str]) -> list[str]:
        """Tasks for which a training job exists."""
        return tasks

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        """Tasks whose saved state the training job of ``task`` reads."""
        stage = tasks.index(task)
        return tasks[stage - 1 : stage] if stage else []

    def active(self, stage: int, task: str, tasks: list[str]) -> list[str] | None:
        """Static routing: states active on ``task`` after ``stage``; None = no such cell.

        Stage 0 is the pretrained backbone and has no state.
        """
        return [tasks[stage - 1]] if stage else []

    # --- training ---

    def ranks(self, job: Job) -> dict[tuple[str, int, str], int]:
        """LoRA rank of each slot, ``(module, block, slot) -> rank``."""
        raise NotImplementedError

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Any:
        """The training objective of one batch; by default the answer tokens' cross-entropy."""
        return model.answer_loss(batch)

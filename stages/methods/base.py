"""What a continual-learning method decides; the null method is sequential LoRA.

A method is one file with a subclass of :class:`Method` bound to ``METHOD``. Nothing here imports
torch at the top, because the Snakefile asks methods which jobs they need.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stages.core.base.errors import InputError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset

    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.core.experts.learner import Answering
    from stages.core.experts.lora import ExpertModel, SlotRanks

    Run = Callable[..., list[list[float]]]


def count(default: int, description: str) -> dict[str, Any]:
    """An option that is a whole number from 1 up."""
    return {"description": description, "type": "integer", "minimum": 1, "default": default}


class Method:
    """Sequential LoRA: one adapter on every slot, trained on through the stream.

    A training job makes an instance of its own and calls ``prepare``, ``fit`` and ``save`` in this
    order; what ``prepare`` keeps on the instance, ``loss``, ``fit`` and ``save`` may use.
    """

    name: str = "seq_ft"
    """The method's name, which is that of its file."""

    label: str = "Sequential LoRA"
    """What tables and pictures call the method; without one, its name."""

    needs: frozenset[str] = frozenset()
    """Artefacts of the method: ``allocation``, ``transfer``, ``router``."""

    routing: str = "static"
    """``static``: the same state for every sample of a step; ``threshold``: by autoencoders."""

    knows_task: bool = False
    """A test sample's task is told, and decides which state answers."""

    earlier_data: str = "no"
    """What training keeps of the rows of earlier tasks."""

    cumulative: bool = False
    """A state holds what those before it hold, so that the last one is all that must be kept."""

    options: ClassVar[dict[str, dict[str, Any]]] = {}
    """The method's own settings: JSON schemas with ``default`` and ``description``, by name."""

    off_budget: str = ""
    """Why the trainable parameters of a task are not within 5 % of the other methods'; empty:
    they are."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]
        cls.label = cls.__dict__.get("label", cls.name)

    def settings(self, config: dict[str, Any]) -> dict[str, Any]:
        """Every option's value: from ``method_options`` of the config, else its default.

        Raises:
            InputError: an option the method does not have, or a value its schema refuses.
        """
        from jsonschema import Draft202012Validator

        where = f"method_options.{self.name}"
        given = config["method_options"].get(self.name, {})
        for key, value in given.items():
            if key not in self.options:
                raise unknown("option", key, self.options, where)
            for fault in Draft202012Validator(self.options[key]).iter_errors(value):
                raise InputError(f"{where}.{key}: {fault.message}.")
        return {key: rule["default"] for key, rule in self.options.items()} | given

    def option(self, job: Job, name: str) -> Any:
        """The value of one of the method's options."""
        return self.settings(job.config)[name]

    # --- the shape of the run (used by the Snakefile; no torch) ---

    def trained_tasks(self, tasks: list[str]) -> list[str]:
        """Tasks for which a training job exists."""
        return tasks

    def starts_from(self, task: str, tasks: list[str], transfer: dict | None) -> list[str]:
        """Tasks whose saved state the training job of ``task`` reads."""
        step = tasks.index(task)
        return tasks[step - 1 : step] if step else []

    @property
    def routing_key(self) -> str:
        """The key of the configuration that decides who answers after which steps."""
        return "routing" if self.routing == "threshold" else "prediction.steps"

    def active(self, step: int, task: str, tasks: list[str]) -> list[str] | None:
        """Static routing: states active on ``task`` after ``step``; None = no such cell.

        Step 0 is the pretrained backbone and has no state.
        """
        return [tasks[step - 1]] if step else []

    def asked_after(self, task: str, tasks: list[str], which: str) -> list[int]:
        """Steps after which test samples of a task are asked: ``all``, or (``ends``) those that
        ``last``, ``mft``, ``bwt`` and ``fwt`` need, and all others at which the same states answer,
        so that they cost nothing. Of methods with static routing."""
        steps, own = range(len(tasks) + 1), tasks.index(task) + 1
        if which == "all":
            return list(steps)
        needed = [self.active(step, task, tasks) for step in (0, own - 1, own, len(tasks))]
        return [step for step in steps if self.active(step, task, tasks) in needed]

    def reads_data(self, task: str, tasks: list[str]) -> list[str]:
        """Tasks whose training rows the training job of ``task`` reads."""
        return [task]

    # --- training ---

    def rows(self, data: dict[str, Dataset], job: Job) -> Dataset:
        """The rows to train on, from those of every task in ``reads_data``."""
        return data[job.task]

    def ranks(self, job: Job) -> SlotRanks:
        """LoRA rank of each slot; by default even on all slots, with as many trainable parameters
        as D-MoLE's expert (``match_size``)."""
        from stages.core.experts.ranks import even_ranks

        return even_ranks(job)

    def prepare(self, backbone: Backbone, job: Job, states: dict[str, Path]) -> ExpertModel:
        """The model to train, its trainable parameters set; ``states`` as in ``starts_from``."""
        from stages.core.experts.lora import ExpertModel

        model = ExpertModel(backbone)
        add_expert(model, job, self.ranks(job))
        for folder in states.values():
            model.restore(job.task, folder)
        model.activate([job.task], training=job.task)
        return model

    def loss(self, model: ExpertModel, batch: dict[str, Any]) -> Any:
        """The training objective of one batch; by default the answer tokens' cross-entropy."""
        return model.answer_loss(batch)

    def fit(self, model: ExpertModel, job: Job, rows: Dataset, run: Run) -> list[list[float]]:
        """Train in one or more phases, and finish the state; return the history of the main one.

        ``run(model, loss, rows, **changes)`` is one phase of training what has ``requires_grad``;
        ``changes`` override keys of the config's ``training`` section.
        """
        return run(model.model, lambda batch: self.loss(model, batch), rows)

    def save(self, model: ExpertModel, job: Job, folder: Path) -> None:
        """Write the state of the finished task."""
        model.save(job.task, folder)

    # --- test ---

    def load(self, backbone: Backbone, states: dict[str, Path]) -> ExpertModel:
        """A model that can activate any of the states by name."""
        from stages.core.experts.lora import ExpertModel

        model = ExpertModel(backbone)
        for name, folder in states.items():
            model.load(name, folder)
        return model

    def answering(self, backbone: Backbone, states: dict[str, Path]) -> Answering:
        """The same for answers: a state is read when it is first used, and not kept for ever."""
        from stages.core.experts.saved import SavedExperts

        return SavedExperts(backbone, states)


def add_expert(model: ExpertModel, job: Job, ranks: SlotRanks) -> None:
    """Add the job's fresh expert with the configured scale and dropout."""
    expert = job.config["expert"]
    model.add(
        job.task,
        ranks,
        scale=expert["alpha"] / expert["rank"],
        dropout=expert["dropout"],
        seed=job.seed,
        fused=expert["qkv"] == "fused",
    )


METHOD = Method

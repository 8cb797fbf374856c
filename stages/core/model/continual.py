"""A finished model that answers questions, whatever method trained it.

    from stages.core.model.continual import ContinualModel

    model = ContinualModel.load("results/demo", method="dmole")
    model.ask("photo.jpg", "What is written on the sign?").text

Questions go in as they are written: of a task that was trained with a template, such as an
instruction or lettered options, they must have its form (``cmit examples`` shows it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.backbone.decoding import answer_rows
from stages.core.backbone.features import extract_features, feature_sizes, generic_features
from stages.core.base.errors import InputError
from stages.core.costs.fitting import usual
from stages.core.dmole import routers
from stages.core.dmole.routing import Rule
from stages.core.model.exported import find_source
from stages.core.model.questions import Picture
from stages.core.model.source import Question, Source

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.core.experts.learner import Answering


@dataclass(frozen=True)
class Route:
    """Who answers, and why: loss / threshold by task known so far, where routers decide."""

    experts: list[str]  # best first; empty: the untouched backbone
    ratios: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """An answer with its :class:`Route`."""

    text: str
    experts: list[str]
    ratios: dict[str, float]


class ContinualModel:
    """A backbone with all that a method has learnt after a step."""

    def __init__(
        self, source: Source, backbone: Backbone, states: Answering, step: int | None
    ) -> None:
        """As :meth:`load` puts it together.

        Raises:
            InputError: a part is missing, or does not fit the backbone.
        """
        source.check(step)
        self.source, self.backbone, self.step = source, backbone, step
        self._states = states
        self._generic: list[np.ndarray] = []  # features of requests in general, once needed
        self._routers: list[routers.Router] = []
        self._rule: Rule | None = None
        if source.routed:
            self._rule = self._read_routers(source.tasks[:step])

    @classmethod
    def load(
        cls,
        path: str | Path,
        step: int | None = None,
        device: str | None = None,
        *,
        method: str | None = None,
        seed: int | None = None,
        backbone: str | Path | None = None,
    ) -> ContinualModel:
        """The model of a run.

        Args:
            path: an exported folder, ``hf:OWNER/NAME`` for one on the Hugging Face hub, the
                results of a stream, or a folder below them such as ``seed0/dmole``.
            step: after how many tasks; None: after all.
            device: such as ``cpu`` or ``cuda:1``; None: a GPU if there is one.
            method: a method or variant; None: the folder's, else the first of the run.
            seed: None: the folder's, else the first of the run.
            backbone: folder of the backbone; None: where the run found it, or what an export
                names.

        Raises:
            InputError: no such run or step, or one that is not finished.
        """
        source = find_source(Path(path), method, seed)
        return cls.of(source, step, device, backbone=backbone)

    @classmethod
    def of(
        cls,
        source: Source,
        step: int | None = None,
        device: str | None = None,
        *,
        backbone: str | Path | None = None,
    ) -> ContinualModel:
        """As :meth:`load`, from parts that were found.

        Raises:
            InputError: the backbone is not there, or does not fit the run.
        """
        from stages.core.backbone.load import load_backbone

        source.check(step)
        settings, folder = source.config["backbone"], backbone or source.backbone
        if not (backbone or settings.get("revision") or Path(folder).is_dir()):
            raise InputError(
                f"{source.place}: its backbone {folder} is not here; say where it lies: "
                "backbone=..., or --backbone on the command line."
            )
        loaded = load_backbone(folder, settings, device)
        return cls(source, loaded, source.method.answering(loaded, source.states), step)

    def at(self, step: int | None) -> ContinualModel:
        """The same model after another step; backbone and experts are shared."""
        other = ContinualModel(self.source, self.backbone, self._states, step)
        other._generic = self._generic
        return other

    # --- questions ---

    def ask(self, image: Picture, question: str, task: str | None = None) -> Answer:
        """Answer a question about an image.

        Args:
            image: a path, an encoded image, or a PIL image.
            task: where it is known: its answers' length. It decides who answers only where the
                method is told the task.

        Raises:
            InputError: an empty question, an unreadable image, an unknown task.
        """
        return self.ask_many([(image, question, task)])[0]

    def ask_many(self, questions: Iterable[Question]) -> list[Answer]:
        """Answer questions ``(image, text)`` or ``(image, text, task)``, in batches."""
        rows, tasks = self.source.rows(questions)
        routes = self._routes(rows, tasks)
        texts = self.answers_of(rows, [route.experts for route in routes], tasks)
        return [
            Answer(texts[row["sample_id"]], route.experts, route.ratios)
            for row, route in zip(rows, routes, strict=True)
        ]

    def answers_of(
        self,
        rows: Sequence[dict[str, Any]],
        experts: Sequence[Sequence[str]],
        tasks: Sequence[str | None],
        limits: dict[str, int] | None = None,
    ) -> dict[str, str]:
        """Answers to rows of the data artefact by sample id, each by the experts that are named
        (none: the backbone) and of the length of its task, or within ``limits``."""
        groups = defaultdict(list)
        for row, names, task in zip(rows, experts, tasks, strict=True):
            groups[tuple(names), task].append(row)
        texts: dict[str, str] = {}
        for (names, task), part in groups.items():
            size = usual("prediction", self.source.config["prediction"]["batch_size"])
            with self._states.using(list(names)) as active:
                length = limits or self._limits(task)
                texts |= answer_rows(
                    self.backbone, active, part, length, size, {}, lambda done: None
                )
        return texts

    def losses(
        self, rows: list[dict[str, Any]], texts: Sequence[Sequence[str]] | None = None
    ) -> np.ndarray:
        """Loss under the router of each task known so far, ``(m, tasks)``.

        Args:
            texts: requests of each row, one after the other; default, its own question.
        """
        z = self._features(rows, texts)
        return np.stack([routers.losses(model, z) for model in self._routers], axis=1)

    def routes_of(self, losses: np.ndarray) -> list[Route]:
        """Who answers at these losses of the tasks known so far, ``(m, tasks)``.

        Raises:
            InputError: the method does not route by losses.
        """
        if self._rule is None:
            raise InputError(f"{self.source.run} does not route by losses.")
        found = self._rule.routes(losses, losses.shape[1])
        ratios = self._rule.ratios(losses)
        return [Route(a.experts, b) for a, b in zip(found, ratios, strict=True)]

    def routes(self, rows: list[dict[str, Any]]) -> list[Route]:
        """Who answers rows of the data artefact whose tasks are not told."""
        return self._routes(rows, [None] * len(rows))

    def route(self, image: Picture, question: str, task: str | None = None) -> Route:
        """Who would answer, without an answer."""
        return self._routes(*self.source.rows([(image, question, task)]))[0]

    def features(self, image: Picture, question: str) -> np.ndarray:
        """The vector ``(d_v + d_t,)`` float32 that routers look at (paper, Eqs. 6-7)."""
        return self._features(self.source.rows([(image, question)])[0])[0]

    # --- how ---

    def _routes(self, rows: list[dict[str, Any]], tasks: Sequence[str | None]) -> list[Route]:
        if self._rule is None:
            return [Route(self.source.active(task, self.step), {}) for task in tasks]
        if not self._routers:
            return [Route([], {}) for _ in rows]
        return self.routes_of(self.losses(rows))

    def _features(
        self, rows: list[dict[str, Any]], texts: Sequence[Sequence[str]] | None = None
    ) -> np.ndarray:
        settings = dict(self.source.config["features"])
        settings["batch_size"] = usual("features", settings["batch_size"])
        with self._states.using([]):
            if settings["style"] == "meaning":
                if not self._generic:
                    self._generic.append(generic_features(self.backbone, settings["batch_size"]))
                settings["generic"] = self._generic[0]
            return extract_features(self.backbone, rows, texts=texts, **settings)

    def _limits(self, task: str | None) -> dict[str, int]:
        """Of a task; where it is not told, the loosest of all."""
        limits = self.source.limits
        if task is not None:
            return limits[task]
        return {
            "max_new_tokens": max(limit["max_new_tokens"] for limit in limits.values()),
            "min_new_tokens": min(limit["min_new_tokens"] for limit in limits.values()),
        }

    def _read_routers(self, tasks: Sequence[str]) -> Rule:
        thresholds, width = {}, sum(feature_sizes(self.backbone))
        for task in tasks:
            model, thresholds[task] = self.source.router(task)
            if model.dim != width:
                raise InputError(
                    f"{self.source.place}: the router of {task} takes {model.dim} features, "
                    f"{self.backbone.path} gives {width}; name the backbone of the run."
                )
            self._routers.append(model)
        uses = self.source.uses_parents
        parents = {task: self.source.parent(task) for task in tasks} if uses else None
        return Rule.of(thresholds, self.source.config["routing"], parents)

"""A finished model on general benchmarks, asked and scored by lmms-eval.

What instruction tuning costs elsewhere: MME, MMMU, POPE and the like (Ge et al., Table 3). The
prompts and the scoring are lmms-eval's; who answers is decided as for any question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.model.questions import question_row

if TYPE_CHECKING:
    from pathlib import Path

    from stages.core.model.continual import ContinualModel

CHUNK = 64  # requests whose images are in memory at once
MISMATCH = (
    "the installed torchvision does not fit the installed torch ({}): take both from one index, as "
    "from PyTorch's CPU index for a CPU build, or uninstall torchvision."
)
ADVICE = 'cmit general needs lmms-eval: pip install -e ".[eval]" in the clone.'


def check_installed() -> None:
    """Raises :class:`InputError` without lmms-eval, or beside a torchvision of another build than
    torch, with which transformers loads no model either."""
    if find_spec("lmms_eval") is None:
        raise InputError(ADVICE)
    if find_spec("torchvision") is not None:
        try:
            import_module("torchvision")
        except RuntimeError as error:
            raise InputError(MISMATCH.format(error)) from None


def evaluate(
    model: ContinualModel,
    tasks: Sequence[str],
    limit: int | None = None,
    folder: Path | None = None,
) -> list[dict[str, Any]]:
    """Scores of the model, an entry per task in their order; of a group, an entry per member.

    Args:
        tasks: names of lmms-eval.
        limit: only the first samples of each task.
        folder: of further tasks in lmms-eval's format.

    Raises:
        InputError: lmms-eval is missing, or knows no such task.
    """
    check_installed()
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    manager = TaskManager("ERROR", include_path=folder and str(folder))
    for task in tasks:
        if task not in manager.all_tasks:
            near = ", ".join(get_close_matches(task, manager.all_tasks)) or "none"
            raise InputError(f"lmms-eval knows no task {task!r}; of a similar name: {near}.")
    found = simple_evaluate(
        model=asked_by_lmms_eval(model),
        tasks=list(tasks),
        task_manager=manager,
        limit=limit,
        log_samples=False,
        verbosity="ERROR",
    )
    return [_entry(found, name) for name in found["results"] if name in found["n-samples"]]


def _entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    """What came out for a task; a metric's key is ``name,filter``."""
    values = {
        key.partition(",")[0]: value
        for key, value in found["results"][name].items()
        if isinstance(value, int | float) and "," in key and "_stderr," not in key
    }
    return {
        "task": name,
        "version": str(found["versions"].get(name, "")),
        "n": found["n-samples"][name]["effective"],
        "metrics": values,
    }


def asked_by_lmms_eval(model: ContinualModel) -> Any:
    """The model as an ``lmms``, for tasks that ask for a text."""
    from lmms_eval.api.model import lmms

    class Asked(lmms):
        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            parts = [requests[i : i + CHUNK] for i in range(0, len(requests), CHUNK)]
            return [text for part in parts for text in self._answers(part)]

        def loglikelihood(self, requests: Any) -> Any:
            raise InputError("This task ranks given answers; only those that ask for a text run.")

        def generate_until_multi_round(self, requests: Any) -> Any:
            raise InputError("This task is a dialogue; only single questions run.")

        def _answers(self, requests: Sequence[Any]) -> Iterator[str]:
            rows, lengths = [], []
            for number, request in enumerate(requests):
                text, options, visual, document, task, split = request.args
                images = visual(self.task_dict[task][split][document])
                rows.append(_row(model, images, text, f"{task}-{document}-{number}"))
                lengths.append(options.get("max_new_tokens", 128))
            given = _ask(model, rows, lengths)
            for row, request in zip(rows, requests, strict=True):
                yield _until(given[row["sample_id"]], request.args[1].get("until", []))

    return Asked()


def _row(model: ContinualModel, images: Sequence[Any], text: str, name: str) -> dict[str, Any]:
    """One question about one image or several."""
    config = model.source.config
    if not images:
        raise InputError(f"{name}: has no image; such tasks cannot be routed.")
    exif = config["image"]["exif"] == "apply"
    made = [question_row(image, text, name, config["max_pixels"], exif=exif) for image in images]
    return made[0] | {"images": [image for row in made for image in row["images"]]}


def _ask(model: ContinualModel, rows: list[dict[str, Any]], lengths: list[int]) -> dict[str, str]:
    """Answers by sample id, each of at most its length in tokens."""
    groups: dict[int, list[Any]] = defaultdict(list)
    answers: dict[str, str] = {}
    for row, route, length in zip(rows, model.routes(rows), lengths, strict=True):
        groups[length].append((row, route.experts))
    for length, pairs in groups.items():
        part, experts = zip(*pairs, strict=True)
        limits = {"max_new_tokens": length, "min_new_tokens": 0}
        answers |= model.answers_of(part, experts, [None] * len(part), limits)
    return answers


def _until(text: str, stops: str | Sequence[str]) -> str:
    """The text before the first of these strings."""
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    return text.strip()

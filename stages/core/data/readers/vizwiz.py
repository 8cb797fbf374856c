"""VizWiz questions (JSON lines) joined with the answers of their ten annotators (one JSON file)."""

from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.readers import containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

ANNOTATORS = 10


def rows(split: "Split") -> containers.Rows:
    """Question rows whose ``answer`` is the list of all ten answers.

    Raises :class:`InputError` if the annotation file as a whole is not of this layout.
    """
    answers = _answers(split)
    for where, line in containers.lines(split.file):
        try:
            yield where, _joined(containers.loads(line), answers)
        except RowError as fault:
            yield where, fault


def _answers(split: "Split") -> dict[str, list]:
    content = containers.whole(split.annotations or split.file)
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{split.annotations}: annotations: expected a list of objects.")
    found: dict[str, Any] = {}
    for i, entry in enumerate(entries):
        key = str(entry.get("question_id"))
        if key in found:
            raise InputError(
                f"{split.annotations}: annotations[{i}]: question_id {key} again; ids must differ."
            )
        found[key] = entry.get("answers")
    return found


def _joined(row: Any, answers: dict[str, list]) -> Any:
    if not isinstance(row, dict):
        return row
    question = row.get("question_id")
    given = answers.get(str(question))
    if not isinstance(given, list):
        raise RowError("missing answer", f"question_id {question!r} has no annotation")
    if len(given) != ANNOTATORS:
        raise RowError(
            "answer count", f"question_id {question!r}: {len(given)} answers, not {ANNOTATORS}"
        )
    return {**row, "answer": [g.get("answer") if isinstance(g, dict) else g for g in given]}

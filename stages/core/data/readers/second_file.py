"""LLaVA rows whose answers stand in a second file: `annotations` of the split.

Such a file is COCO's captions, which belong to the rows by their place (image_id 1 is the first
row's), or has the answers by question_id: a list of objects, alone or under ``data`` (TextVQA) or
``annotations`` (VQA), or an object of objects (GQA).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError
from stages.core.data.faults import RowError
from stages.core.data.readers import containers

if TYPE_CHECKING:
    from stages.core.data.manifests import Split

Answer = Callable[[Mapping, int], Any]  # (row, its place from 1) -> its answers
LAYOUTS = (
    "COCO's captions (images, annotations), a list of {question_id, answer}, the same under "
    "'data' or 'annotations', or {question_id: {answer}}"
)


def rows(split: "Split") -> containers.Rows:
    """The rows of the split's array, each with its ``answer`` from the second file if there is one.

    Raises :class:`InputError` if the second file is of no known layout.
    """
    if split.annotations is None:
        yield from containers.array(split.file)
        return
    answer_of = _answers(split)
    for place, (where, row) in enumerate(containers.array(split.file), start=1):
        try:
            yield where, {**row, "answer": answer_of(row, place)} if _is(row) else row
        except RowError as fault:
            yield where, fault


def _is(value: Any) -> bool:
    return isinstance(value, Mapping)


def _answers(split: "Split") -> Answer:
    content, where = containers.whole(split.annotations or split.file), str(split.annotations)
    if _is(content) and "images" in content and _listed(content.get("annotations")):
        return _by_place(content, where)
    if _is(content) and len(content) and all(map(_is, content.values())):
        return _by_question(
            [{**entry, "question_id": key} for key, entry in content.items()], where
        )
    entries = content if not _is(content) else content.get("data", content.get("annotations"))
    if not _listed(entries):
        raise InputError(f"{where}: answers of no known layout; read are {LAYOUTS}.")
    return _by_question(entries, where)


def _listed(entries: Any) -> bool:
    return isinstance(entries, list) and all(map(_is, entries))


def _by_question(entries: list[Mapping], where: str) -> Answer:
    found: dict[str, Any] = {}
    for i, entry in enumerate(entries):
        key = str(entry.get("question_id"))
        if key in found:
            raise InputError(f"{where}: entry {i + 1}: question_id {key} again; ids must differ.")
        given = entry.get("answers", entry.get("answer"))
        given = given if isinstance(given, list) else [given]
        found[key] = [one.get("answer") if _is(one) else one for one in given]

    def answer(row: Mapping, place: int) -> Any:
        key = str(row.get("question_id"))
        if key not in found or found[key] == [None]:
            raise RowError("missing answer", f"question_id {key!r} has none in {where}")
        return found[key]

    return answer


def _by_place(content: Mapping, where: str) -> Answer:
    captions, names = defaultdict(list), {}
    for entry in content["annotations"]:
        captions[str(entry.get("image_id"))].append(entry.get("caption"))
    for image in content["images"] if _listed(content["images"]) else []:
        names[str(image.get("id"))] = PurePosixPath(str(image.get("file_name", ""))).name

    def answer(row: Mapping, place: int) -> Any:
        said, own = names.get(str(place)), PurePosixPath(str(row.get("image"))).name
        if said and said != own:
            raise RowError("other image", f"image_id {place} of {where} is {said!r}, not {own!r}")
        if str(place) not in captions:
            raise RowError("missing answer", f"image_id {place} has no caption in {where}")
        return captions[str(place)]

    return answer

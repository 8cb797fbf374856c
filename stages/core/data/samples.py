"""From a source's record to a row of the data artefact: prompt, answer, references, box, images."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from string import ascii_uppercase

from stages.core.base.errors import InputError
from stages.core.data import boxes, images, lettered
from stages.core.data.faults import RowError
from stages.core.data.manifests import Manifest, Split
from stages.core.data.markers import PLACE
from stages.core.data.readers.record import Record

LETTERS = ("choice", "coin_scienceqa")  # metrics that compare options, not texts
CACHED = 4096  # image headers remembered: captions and questions of one image follow each other


class Converter:
    """Turns the records of one split into rows, checking everything that one row can tell.

    Referenced images are looked at (header and end mark) but not copied; ``decode`` reads them
    in full. Embedded ones are always decoded. ``exif`` says whether their orientation is applied
    or ignored.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: Split,
        max_pixels: int,
        *,
        exif: str = "apply",
        decode: bool = False,
    ) -> None:
        self._manifest, self._split = manifest, split
        self._max_pixels, self._exif, self._decode = max_pixels, exif == "apply", decode
        self._probe = lru_cache(CACHED)(self._probe_file)

    def row(self, record: Record, sample_id: str) -> tuple[dict | None, list[RowError]]:
        """The row, or None and what is wrong with it (its images and its text apart)."""
        faults: list[RowError] = []
        pictures: list[dict] = []
        sizes: list[tuple[int, int]] = []
        said: dict = {}
        try:
            pictures, sizes = self._images(record)
        except RowError as fault:
            faults.append(fault)
        try:
            said = self._said(record, sizes[0] if sizes else None)
        except RowError as fault:
            faults.append(fault)
        if faults:
            return None, faults
        width, height = sizes[0] if sizes else (None, None)
        blank = {"choices": None, "box": None}
        row = {"sample_id": sample_id, "images": pictures, **blank, **said}
        return {**row, "width": width, "height": height}, []

    def _images(self, record: Record) -> tuple[list[dict], list[tuple[int, int]]]:
        pictures: list[dict] = []
        sizes: list[tuple[int, int]] = []
        for image in record.images:
            picture: dict
            if isinstance(image, bytes):
                header = images.probe(image, self._max_pixels, exif=self._exif)
                picture = {"bytes": image, "path": None}
            else:
                path, header = self._probe(image)
                picture = {"bytes": None, "path": path}
            pictures.append({**picture, "orientation": header.orientation})
            sizes.append(header.size)
        return pictures, sizes

    def _probe_file(self, name: str) -> tuple[str, images.Header]:
        path = self._manifest.root.place(name, self._split.images)
        if path is None:
            raise RowError(
                "path leaves the data root",
                f"{name!r} is not below {self._manifest.root.folder} (links followed)",
            )
        return path.as_posix(), images.probe(
            path, self._max_pixels, decode=self._decode, exif=self._exif
        )

    def _said(self, record: Record, size: boxes.Size | None) -> dict:
        if record.turns is not None:
            said = _conversation(record, self._manifest, self._split.name, size)
        else:
            if self._manifest.kind == "grounding":
                said = _grounding(record, size, self._manifest.box)
            elif self._manifest.options_in_text:
                said = _lettered(record, self._manifest.metric)
            else:
                said = _SAY[self._manifest.kind](record)
            if self._manifest.content.get("answer") == "text":
                said["answer"] = (record.choices or ())[record.answer_index or 0]
            prompt = _prompt(self._manifest, record)
            said["turns"] = [{"question": prompt, "answer": said.pop("answer")}]
        return _encodable(said)


def _encodable(said: dict) -> dict:
    """Check that the texts can be stored: JSON can escape half of a surrogate pair."""
    try:
        for turn in said["turns"]:
            turn["question"].encode(), turn["answer"].encode()
        "".join([*said["references"], *(said.get("choices") or ())]).encode()
    except UnicodeEncodeError as error:
        raise RowError("not UTF-8", f"{error.reason} in the text") from None
    return said


def _prompt(manifest: Manifest, record: Record) -> str:
    template = manifest.prompt_of(record.answers)
    if template is None:
        raise InputError(f"{manifest.path}: prompt: needed, since the rows are no conversations.")
    parts = {"question": record.question, "knowledge": record.knowledge, "options": None}
    if record.choices:
        named = zip(ascii_uppercase, record.choices, strict=False)
        parts["options"] = ", ".join(f"{letter}. {choice}" for letter, choice in named)
    for name, text in parts.items():
        if not text and f"{{{name}}}" in template:
            raise RowError(f"empty {name}", f"the prompt needs {{{name}}}, the row has none")
    prompt = template.format(**parts)
    if prompt.count(PLACE) not in (0, len(record.images)):
        raise RowError("image count", "the prompt repeats a {question} with image markers")
    return prompt


def _answered(record: Record) -> tuple[str, ...]:
    if not record.answers:
        raise RowError("missing answer", "no answer")
    return record.answers


def _captioning(record: Record) -> dict:
    captions = _answered(record)
    return {"answer": next(filter(None, captions)), "references": list(captions)}


def _open_vqa(record: Record) -> dict:
    answers = _answered(record)
    most_given = Counter(filter(None, answers)).most_common(1)[0][0]  # on a tie the first
    return {"answer": most_given, "references": list(answers)}


def _choice_vqa(record: Record) -> dict:
    choices = record.choices or ()
    if not 2 <= len(choices) <= len(ascii_uppercase):
        raise RowError("bad choices", f"{len(choices)} options, allowed are 2 to 26")
    if record.answer_index is None:
        raise RowError("missing answer", "no number of the right option")
    if not 0 <= record.answer_index < len(choices):
        raise RowError(
            "answer out of range",
            f"option {record.answer_index} of {len(choices)} (counted from 0)",
        )
    letter = ascii_uppercase[record.answer_index]
    return {"answer": letter, "references": [letter], "choices": list(choices)}


def _lettered(record: Record, metric: str | dict) -> dict:
    """A choice whose options stand in the question; the answer is an option's letter or text.

    Metrics that compare texts need no options, so a question without any is right for them.
    """
    said = _open_vqa(record)
    found = lettered.options(record.question or "")
    if metric in LETTERS:
        if found is None:
            raise RowError("bad choices", f"no options A., B. in {(record.question or '')[:60]!r}")
        letter = lettered.letter_of(said["answer"], found)
        if letter is None:
            raise RowError("answer out of range", f"{said['answer'][:60]!r} is none of the options")
        said["references"] = [letter]
    return {**said, "choices": None if found is None else list(found)}


def _grounding(record: Record, size: boxes.Size | None, written: dict[str, str]) -> dict:
    if record.box is None:
        raise RowError("missing answer", "no box")
    if size is None:  # the image is at fault, which is reported already
        return {"answer": "", "references": []}
    if record.size:
        boxes.check_shape(record.size, size)
    if written["format"] == "padded":
        return _as_written(record.answers[0] if record.answers else str(list(record.box)), size)
    corners = boxes.corners(record.box, written["order"])
    box = boxes.relative_box(corners, record.size or size, written["format"])
    text = boxes.box_text(box)
    return {"answer": text, "references": [text], "box": list(box)}


_SAY = {
    "captioning": _captioning,
    "open_vqa": _open_vqa,
    "choice_vqa": _choice_vqa,
}


def _as_written(text: str, size: boxes.Size | None) -> dict:
    """A box in the frame of the padded image, which the answer keeps."""
    return {"answer": text, "references": [text], "box": list(boxes.padded_box(text, size))}


def _conversation(record: Record, manifest: Manifest, split: str, size: boxes.Size | None) -> dict:
    turns = [{"question": question, "answer": answer} for question, answer in record.turns or ()]
    answer = turns[-1]["answer"]
    said: dict = {"turns": turns, "references": [answer]}
    if manifest.kind == "grounding":
        padded = manifest.box["format"] == "padded"
        if not padded:
            said["box"] = list(boxes.written_box(answer, size))
        elif split == "test" or answer.startswith("["):  # LLaVA's training turns also describe
            said["box"] = list(boxes.padded_box(answer, size))
    if manifest.kind == "choice_vqa" and split == "test":
        if not manifest.options_in_text:
            raise RowError("bad choices", "a conversation lists no options to score against")
        asked = replace(record, question=turns[-1]["question"], answers=(answer,))
        own = _lettered(asked, manifest.metric)
        said |= {"references": own["references"], "choices": own["choices"]}
    return said

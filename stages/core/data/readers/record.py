"""One row as its source gives it, before any prompt is applied: the readers' common result."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.data import markers
from stages.core.data.faults import RowError
from stages.core.data.readers import parts

NAMES = (
    *("id", "image", "question", "answers", "choices", "answer_index", "knowledge"),
    *("box", "width", "height", "conversations"),
)
DIGITS = 20  # as text, a whole number has fewer
LARGEST = 1e9  # pixels along a side, of any image
SPELT_OUT = 1e16  # from here on Python too writes a float with an exponent
IMAGE_COLUMNS = ("images", "image_path", "img", "file_name")  # read where there is no "image"
TURN_COLUMNS = ("messages",)  # read where there is no "conversations"
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


@dataclass(frozen=True, slots=True)
class Record:
    """What a row says; None where the source has nothing.

    ``turns`` (question, answer) come from conversations whose prompts are already written out.
    Questions hold the places of their images (see markers.py).
    ``box`` has its four numbers as the file writes them. ``size`` (width, height) is None where the
    row does not give it.
    """

    id: str | None = None
    images: tuple[str | bytes, ...] = ()
    question: str | None = None
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    answer_index: int | None = None
    knowledge: str | None = None
    box: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    turns: tuple[tuple[str, str], ...] | None = None


def from_mapping(row: Any, fields: Mapping[str, str | None], *, text_only: bool = False) -> Record:
    """A record from a mapping of columns; ``fields`` maps :data:`NAMES` to columns.

    ``text_only`` allows rows without an image. Raises :class:`RowError` if a value has the wrong
    type; whether another value is needed at all is for the task's kind to say.
    """
    if not isinstance(row, Mapping):
        raise RowError("wrong type", f"a row is an object with named values, not {_kind(row)}")
    value = {name: row.get(column) for name, column in fields.items() if column}
    images = _images(_either(row, value, fields, "image", IMAGE_COLUMNS))
    said = _either(row, value, fields, "conversations", TURN_COLUMNS)
    if said is not None:
        return Record(_id(value), images, turns=_turns(said, len(images)))
    if fields.get("image") and not images and not text_only:
        raise RowError("missing image", f"no {fields['image']!r}")
    return Record(
        id=_id(value),
        images=images,
        question=_question(value, fields, len(images)),
        answers=_answers(value, fields),
        choices=_choices(value, fields),
        answer_index=_whole(value, "answer_index", fields),
        knowledge=_knowledge(value, fields),
        box=_box(value, fields),
        size=_size(value, fields),
    )


def _either(
    row: Mapping, value: Mapping, fields: Mapping, name: str, others: tuple[str, ...]
) -> Any:
    """A value under the format's own column, else under another common spelling of it; a column
    that a manifest names stands alone."""
    if value.get(name) is not None or fields.get(name) != name:
        return value.get(name)
    return next((row[other] for other in others if row.get(other) is not None), None)


def _answers(value: Mapping, fields: Mapping) -> tuple[str, ...]:
    """The answers; of a box that the file holds as text alone, this text."""
    found = texts(value.get("answers"), fields.get("answers") or "answers")
    box = value.get("box")
    return found or ((box.strip(),) if isinstance(box, str) else ())


def texts(value: Any, column: str) -> tuple[str, ...]:
    """One answer or a list of answers; numbers become their digits.

    Among several an empty one is allowed (annotators leave blanks), but not all of them.

    Raises:
        RowError: neither text nor a finite number, or no text at all.
    """
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise RowError("wrong type", f"{column!r} holds {_kind(item)}, expected text")
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        raise RowError("missing answer", f"{column!r} holds a number that is none (NaN, Infinity)")
    found = tuple(_digits(item).strip() for item in items)
    if found and not any(found):
        raise RowError("empty answer", f"{column!r} holds no text")
    markers.check_plain(found, column)
    return found


def _digits(item: str | int | float) -> str:
    """A number as its shortest digits; a whole one without decimals."""
    plain = isinstance(item, float) and item.is_integer() and abs(item) < SPELT_OUT
    return str(int(item)) if plain else str(item)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _id(value: Mapping) -> str | None:
    found = value.get("id")
    if found is None or (isinstance(found, str | int) and str(found).strip()):
        return None if found is None else str(found).strip()
    raise RowError("wrong type", f"id: expected text or a whole number, found {_kind(found)}")


def _images(value: Any) -> tuple[str | bytes, ...]:
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return tuple(_image(item) for item in items)


def _image(item: Any) -> str | bytes:
    if isinstance(item, Mapping):  # struct<bytes, path>, as Hugging Face stores images
        item = item.get("bytes") or item.get("path")
    if isinstance(item, str | bytes) and item:
        return item
    raise RowError("missing image", f"expected a path or an embedded image, found {_kind(item)}")


def _text(value: Mapping, name: str, fields: Mapping) -> str | None:
    found = value.get(name)
    if found is None or isinstance(found, str):
        return found.strip() if found else None
    raise RowError("wrong type", f"{fields[name]!r}: expected text, found {_kind(found)}")


def _choices(value: Mapping, fields: Mapping) -> tuple[str, ...] | None:
    if value.get("choices") is None:
        return None
    if not isinstance(value["choices"], list | tuple):
        raise RowError("wrong type", f"{fields['choices']!r}: expected a list of texts")
    found = texts(value["choices"], fields["choices"])
    if not all(found):
        raise RowError("bad choices", f"{fields['choices']!r} holds an empty option")
    return found


def _whole(value: Mapping, name: str, fields: Mapping) -> int | None:
    found = value.get(name)
    if (
        isinstance(found, str) and found.strip().isdecimal() and len(found) < DIGITS
    ):  # of a CSV file
        return int(found)
    if found is None or (isinstance(found, int) and not isinstance(found, bool)):
        return found
    raise RowError("wrong type", f"{fields[name]!r}: expected a whole number, found {_kind(found)}")


def _box(value: Mapping, fields: Mapping) -> tuple[float, ...] | None:
    found = _from_text(value.get("box"), "bad box")
    if found is None:
        return None
    numbers = isinstance(found, list | tuple) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and not abs(x) > LARGEST
        for x in found
    )
    if not numbers or len(found) != 4:
        raise RowError("bad box", f"{fields['box']!r}: expected four numbers, found {found}")
    return tuple(float(x) for x in found)


def _size(value: Mapping, fields: Mapping) -> tuple[int, int] | None:
    width, height = _whole(value, "width", fields), _whole(value, "height", fields)
    if width is None or height is None:
        return None
    if min(width, height) < 1 or max(width, height) > LARGEST:
        raise RowError("bad size", f"{width} x {height} is no size of an image")
    return width, height


def _turns(conversations: Any, n_images: int) -> tuple[tuple[str, str], ...]:
    """(question, answer) pairs of a conversation; what a system turn says stands before the first
    question."""
    conversations, system = _without_system(_from_text(conversations))
    if not isinstance(conversations, list | tuple) or not conversations:
        raise RowError("empty conversation", "no turns")
    if len(conversations) % 2:
        raise RowError("broken conversation", f"{len(conversations)} turns: the last has no answer")
    said = [_said(turn, ("human", "gpt")[i % 2], i) for i, turn in enumerate(conversations)]
    said[0] = f"{system}\n{said[0]}" if system else said[0]
    markers.check_plain(said[1::2], "an answer")
    questions = markers.placed(said[::2], n_images)
    turns = tuple(zip(questions, [text.strip() for text in said[1::2]], strict=True))
    for i, (question, answer) in enumerate(turns):
        if not markers.without_places(question).strip():
            raise RowError("empty question", f"turn {2 * i} is empty")
        if not answer:
            raise RowError("empty answer", f"turn {2 * i + 1} is empty")
    return turns


def _from_text(value: Any, kind: str = "broken conversation") -> Any:
    """A list that a table or file holds as JSON text, as what the text says; ``kind`` of fault."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise RowError(kind, f"text that is no JSON: {error.msg}") from None
    except ValueError as error:  # a number of thousands of digits
        raise RowError(kind, f"text that is no JSON: {error}") from None
    except RecursionError:
        raise RowError(kind, "JSON text nested too deeply") from None


def _without_system(conversations: Any) -> tuple[Any, str]:
    """The turns after a system turn in front, and its text."""
    first = conversations[0] if isinstance(conversations, list | tuple) and conversations else None
    if not isinstance(first, Mapping) or first.get("from", first.get("role")) != "system":
        return conversations, ""
    text = parts.joined(first.get("value", first.get("content")))
    if not isinstance(text, str):
        raise RowError("broken conversation", "the system turn has no text")
    return conversations[1:], text.strip()


def _question(value: Mapping, fields: Mapping, n_images: int) -> str | None:
    found = _text(value, "question", fields)
    if not found:
        return found
    (question,) = markers.placed([found], n_images)
    return question if markers.without_places(question).strip() else ""


def _knowledge(value: Mapping, fields: Mapping) -> str | None:
    found = _text(value, "knowledge", fields)
    markers.check_plain([found or ""], "knowledge")
    return found


def _said(turn: Any, speaker: str, index: int) -> str:
    turn = turn if isinstance(turn, Mapping) else {}
    text = parts.joined(turn.get("value", turn.get("content")))
    found = turn.get("from", turn.get("role"))
    if not isinstance(text, str):
        raise RowError(
            "broken conversation", f"turn {index} has no text under 'value' (or 'content')"
        )
    if SPEAKERS.get(str(found)) != speaker:
        raise RowError(
            "broken conversation", f"turn {index} is from {found!r}, expected {speaker!r}"
        )
    return text

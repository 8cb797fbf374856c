"""Texts of chats: a turn may be a list of parts, ``{type: text, text}`` and ``{type: image}``."""

from collections.abc import Mapping
from typing import Any

from stages.core.data.faults import RowError

IMAGES = ("image", "image_url")


def joined(content: Any) -> Any:
    """The text of a list of parts, in their order and without anything between them, with
    ``<image>`` where an image stands; what is no list passes through.

    Raises :class:`RowError` for a part of another type and for a text part without text.
    """
    if not isinstance(content, list | tuple):
        return content
    return "".join(_written(part, number) for number, part in enumerate(content, start=1))


def _written(part: Any, number: int) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in IMAGES:
        return "<image>"
    if kind != "text":
        found = f"is of type {kind!r}" if kind else "has no type"
        allowed = ", ".join(("text", *IMAGES))
        raise RowError(
            "broken conversation", f"part {number} of a turn {found}; read are {allowed}"
        )
    if not isinstance(part.get("text"), str):
        raise RowError("broken conversation", f"part {number} of a turn has no text under 'text'")
    return part["text"]

"""What a report page is made of; ``template.html`` gives each part its HTML.

All strings are plain text: the template escapes them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TEMPLATE = Path(__file__).with_name("template.html")


@dataclass(frozen=True)
class Cell:
    """A table cell; ``tip`` shows on hovering, ``marks`` are CSS classes of the template."""

    text: str
    tip: str = ""
    background: str = ""
    ink: str = ""
    marks: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first ``labels`` columns are row labels and whose others are numbers."""

    head: list[str]
    rows: Sequence[Sequence[Cell | str]]
    caption: str
    title: str = ""
    labels: int = 1
    name: str = ""  # data-name attribute, to find the table again in the HTML
    prose: bool = False  # the columns hold words, not numbers
    kind = "table"

    def cells(self) -> list[list[Cell]]:
        """The rows with plain strings wrapped."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """A vector picture, put into the page as a data URI so that it cannot reach outside."""

    svg: str
    caption: str
    alt: str
    title: str = ""
    folded: bool = False  # shown on demand: the same picture for a further seed
    kind = "picture"

    def uri(self) -> str:
        """The picture as the value of an ``src`` attribute."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str
    kind = "note"


@dataclass(frozen=True)
class Definitions:
    """A list of (name, meaning, remark)."""

    entries: list[tuple[str, str, str]]
    kind = "definitions"


@dataclass(frozen=True)
class ScoreScale:
    """The legend of the score colours: CSS colours from 0 to 100."""

    colours: list[str]
    kind = "scale"


Block = Table | Picture | Note | Definitions | ScoreScale


@dataclass(frozen=True)
class Section:
    """A heading, a lead sentence and its blocks; without blocks the lead says what is absent."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=list)


def render(title: str, subtitle: str, sections: list[Section]) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(TEMPLATE.read_text())
    return page.render(title=title, subtitle=subtitle, sections=sections)

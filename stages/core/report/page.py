"""What a report page is made of; ``template.html`` gives each part its HTML.

All strings are plain text: the template escapes them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.report.style import STEPS
from stages.core.report.svg import Canvas, stylesheet
from stages.core.runs.examples import Thumbnail

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A table cell; ``tip`` shows on hovering, ``marks`` are CSS classes, ``value`` is what the
    column is sorted by where the text is no plain number."""

    text: str
    tip: str = ""
    marks: str = ""
    value: float | None = None


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
    """A vector picture; the one of its kind that has a name is written as a file too."""

    canvas: Canvas
    caption: str
    alt: str
    title: str = ""
    name: str = ""
    kind = "picture"

    def markup(self) -> str:
        """The picture as an element of the page."""
        return self.canvas.markup(self.alt)


@dataclass(frozen=True)
class Row:
    """Pictures side by side where the window is wide enough."""

    pictures: Sequence[Picture]
    kind = "row"


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
    """The legend of the score colours, from 0 to 100."""

    levels: Sequence[int] = range(STEPS + 1)
    kind = "scale"


@dataclass(frozen=True)
class Answers:
    """What a method answered to a sample, and what became of the sample."""

    title: str
    kinds: str
    table: Table


@dataclass(frozen=True)
class Card:
    """An image (None: there is none) and samples about it: id, question, references, answers."""

    image: Thumbnail | None
    samples: Sequence[tuple[str, str, str, Sequence[Answers]]]
    kind = "card"


@dataclass(frozen=True)
class Fold:
    """Blocks that show on demand."""

    title: str
    blocks: Sequence[Block]
    kind = "fold"


Block = Table | Picture | Row | Note | Definitions | ScoreScale | Card | Fold


@dataclass(frozen=True)
class Section:
    """A heading, a lead sentence and its blocks; without blocks the lead says what is absent."""

    key: str
    title: str
    lead: str
    blocks: Sequence[Block] = field(default_factory=list)


def folded(blocks: Sequence[Block], rest: str) -> list[Block]:
    """The first block, and the others of its kind on demand under the title ``rest``."""
    return [*blocks[:1], *([Fold(f"{rest} ({len(blocks) - 1})", blocks[1:])] if blocks[1:] else [])]


def pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    """All pictures among blocks, those on demand included."""
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Row):
            yield from block.pictures
        elif isinstance(block, Fold):
            yield from pictures(block.blocks)


def render(title: str, subtitle: str, sections: list[Section]) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string((HERE / "template.html").read_text(encoding="utf-8"))
    script = (HERE / "page.js").read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        plots=stylesheet(),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        allowed=f"sha256-{allowed}",
    )

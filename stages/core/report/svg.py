"""Pictures as SVG that stands in the page itself: colours follow the page's, dark or light.

A :class:`Canvas` collects shapes in pixels; every text is escaped. Colours are CSS classes of
``plots.css``, so that a picture can also be written as a file of its own.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from stages.core.report.style import css, level_of

SIZE = 12  # pixels of text
WIDTH = 1050  # pixels that the page has for a picture


def stylesheet() -> str:
    """The CSS that pictures need."""
    return Path(__file__).with_name("plots.css").read_text(encoding="utf-8") + css()


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def width_of(text: str, size: float = SIZE) -> float:
    """About how many pixels wide a text is in a sans-serif font."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return size * (0.56 * (len(text) - wide) + wide)


def shortened(text: str, most: int = 24) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


class Canvas:
    """A picture of fixed size that shapes are put on."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, kind: str, tip: str = "") -> None:
        """A filled rectangle."""
        place = " ".join(f'{k}="{number(v)}"' for k, v in zip("xy", (x, y), strict=True))
        size = f'width="{number(max(w, 0))}" height="{number(max(h, 0))}"'
        self._add("rect", f'class="f {kind}" {place} {size}', tip)

    def line(self, points: Sequence[tuple[float, float]], kind: str, tip: str = "") -> None:
        """A line through points."""
        path = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        self._add("path", f'class="l {kind}" d="M{path}"', tip)

    def dot(self, x: float, y: float, kind: str, tip: str = "", radius: float = 4) -> None:
        """A filled circle."""
        place = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
        self._add("circle", f'class="f {kind}" {place}', tip)

    def text(
        self, x: float, y: float, text: str, kind: str = "", anchor: str = "", tip: str = ""
    ) -> None:
        """A text whose middle line is at ``y``; anchor: middle, end, or '' for its start."""
        named = f' class="{kind}"' if kind else ""
        anchored = f' text-anchor="{anchor}"' if anchor else ""
        place = f'x="{number(x)}" y="{number(y + 4)}"'
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f"<text{named} {place}{anchored}>{escape(text)}{title}</text>")

    def cells(
        self, values: np.ndarray, x: float, y: float, size: tuple[float, float], top: float = 1
    ) -> None:
        """A heat map of ``values`` in 0..top, rows downwards; NaN is grey. One path a colour."""
        w, h = size
        paths: dict[int | None, list[str]] = defaultdict(list)
        for (i, j), value in np.ndenumerate(values):
            level = None if np.isnan(value) else level_of(value / top)
            corner = f"M{number(x + j * w)} {number(y + i * h)}"
            paths[level].append(f"{corner}h{number(w - 1)}v{number(h - 1)}h-{number(w - 1)}z")
        for level, found in sorted(paths.items(), key=lambda item: (item[0] is None, item[0])):
            kind = "absent" if level is None else f"h{level}"
            self._parts.append(f'<path class="{kind}" d="{"".join(found)}"/>')

    def frame(self, x: float, y: float, w: float, h: float, kind: str = "") -> None:
        """The outline of a rectangle."""
        self.line([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], kind)

    def _add(self, tag: str, attributes: str, tip: str) -> None:
        if tip:
            self._parts.append(f"<{tag} {attributes}><title>{escape(tip)}</title></{tag}>")
        else:
            self._parts.append(f"<{tag} {attributes}/>")

    def markup(self, label: str) -> str:
        """The picture as an element of a page; the label says what it shows."""
        return self._element(label, "", "")

    def file(self, label: str) -> str:
        """The picture as a file that needs nothing else."""
        paper = f'<rect class="paper" width="{self.width:g}" height="{self.height:g}"/>'
        style = f"<style>{stylesheet()}</style>"
        return self._element(label, ' xmlns="http://www.w3.org/2000/svg"', style + paper) + "\n"

    def _element(self, label: str, extra: str, front: str) -> str:
        w, h = f"{self.width:g}", f"{self.height:g}"
        return (
            f'<svg{extra} class="plot" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
            f"aria-label={quoteattr(label)}>{front}{''.join(self._parts)}</svg>"
        )


# --- axes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """From values low..high to pixels start..end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; beyond the ends it is that of the end."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About so many round numbers within the scale."""
        if self.log and len(found := _log_ticks(self.low, self.high, count)) > 1:
            return found
        if self.high <= self.low:
            return [self.low]
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """Values 1, 2 and 5 of each decade, or every decade (or fewer) where those are too many."""
    decades = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    fine = [m * 10.0**d for d in decades for m in (1, 2, 5) if low <= m * 10.0**d <= high]
    if len(fine) <= count + 2:
        return fine
    whole = [10.0**d for d in decades if low <= 10.0**d <= high]
    return whole[:: -(-len(whole) // (count + 2))]


def around(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """The range of values with some room on both sides, none at a limit of 0."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = margin * (high - low) or 0.5
    if low == high == 0:
        return 0.0, 1.0
    return (low - room if low else 0.0), (high + room if high else 0.0)


def x_axis(
    canvas: Canvas, scale: Scale, top: float, bottom: float, label: str = "", count: int = 5
) -> None:
    """Grid lines from top to bottom with numbers below, and a label below these."""
    for tick in scale.ticks(count):
        canvas.line([(scale(tick), top), (scale(tick), bottom)], "grid")
        canvas.text(scale(tick), bottom + 11, f"{tick:,g}", "small", "middle")
    if label:
        canvas.text((scale.start + scale.end) / 2, bottom + 28, label, "small", "middle")


def y_axis(
    canvas: Canvas, scale: Scale, left: float, right: float, label: str = "", count: int = 4
) -> None:
    """Grid lines from left to right with numbers on the left, and a label above."""
    for tick in scale.ticks(count):
        canvas.line([(left, scale(tick)), (right, scale(tick))], "grid")
        canvas.text(left - 6, scale(tick), f"{tick:,g}", "small", "end")
    if label:
        canvas.text(left, min(scale.start, scale.end) - 12, label, "small")


def colour_bar(canvas: Canvas, x: float, y: float, label: str) -> None:
    """A legend of the colours: from 0 to what the label says."""
    canvas.text(x, y + 5, "0", "small")
    canvas.cells(np.linspace(0, 1, 11)[None], x + 12, y, (12, 11))
    canvas.text(x + 150, y + 5, label, "small")


def legend(canvas: Canvas, x: float, y: float, entries: Sequence[tuple[str, str]]) -> None:
    """A row of (kind, label)."""
    for kind, label in entries:
        canvas.rect(x, y - 5, 10, 10, kind)
        canvas.text(x + 15, y, label, "small")
        x += 32 + width_of(label, 11)


def spread(
    values: dict[str, float], limits: tuple[float, float], line: float
) -> list[tuple[str, float]]:
    """Places for labels of lines so high, top down in the order of the values and as near to them
    as the limits allow; closer together where these leave no room."""
    low, high = limits
    gap = min(line, (high - low) / max(len(values) - 1, 1))
    names = sorted(values, key=lambda name: values[name])
    places: dict[str, float] = {}
    floor = low
    for rank, name in enumerate(names):
        ceiling = high - gap * (len(names) - rank - 1)  # leave room for those below
        places[name] = min(max(values[name], floor), ceiling)
        floor = places[name] + gap
    return list(places.items())

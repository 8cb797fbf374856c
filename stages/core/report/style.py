"""The look of all pictures: sizes, colours, and SVG text that is equal for equal data."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 11.0  # inches; the page shows 96 pixels an inch

# Okabe and Ito's palette: distinct under the common colour-vision deficiencies.
COLOURS = {"vision": "#0072B2", "llm": "#E69F00"}
SEEN, UNSEEN, ACCENT, INK = "#0072B2", "#D55E00", "#D55E00", "#1a1a1a"
TOWER_TITLES = {"vision": "Vision encoder", "llm": "Language model"}
SCALE = "YlGnBu"  # ColorBrewer, colour-blind safe: light = low, dark = high, wherever it is used

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "cmit",
    "svg.fonttype": "path",  # the same picture whatever fonts the reader has
    "text.parse_math": False,  # task names may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "hatch.linewidth": 0.4,
    "hatch.color": "#9a9a9a",
}


def as_svg(draw: Callable[..., Figure]) -> Callable[..., str]:
    """Make a function that draws a figure return it as SVG text, without dates or tool names."""

    @wraps(draw)
    def wrapped(*args, **kwargs) -> str:
        import matplotlib

        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS}):
            text = io.StringIO()
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            draw(*args, **kwargs).savefig(text, format="svg", metadata=nothing)
        svg = text.getvalue()
        return svg[svg.index("<svg") :]  # the prologue names a DTD on the network

    return wrapped


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of the given size in inches and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def plain_frame(axes: Axes) -> None:
    """No spines and no tick marks: for heat maps."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def category_ticks(axes: Axes, labels: list[str], *, down: bool = True) -> None:
    """One horizontal band per label on the y axis, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    if down:
        axes.set_ylim(len(labels) - 0.5, -0.5)


def colour_of(value: float, top: float = 100.0) -> tuple[str, str]:
    """CSS background and text colour of a score; values outside 0..top get the end colours."""
    import matplotlib
    from matplotlib.colors import to_hex

    red, green, blue, _ = matplotlib.colormaps[SCALE](float(np.clip(value / top, 0.0, 1.0)))
    # Relative luminance (WCAG 2): dark ink where it contrasts more than white.
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return to_hex((red, green, blue)), "#000000" if luminance > 0.179 else "#ffffff"


def log_axis(axes: Axes) -> None:
    """Logarithmic x axis with ticks at 1, 2 and 5 of each decade, written out."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)


def boxes(axes: Axes, rows: list[tuple[float, dict, str]], height: float) -> None:
    """Horizontal boxes from quantiles: p25..p75, median bar, whiskers p05..p95, dots min and max.

    ``rows``: (position on the y axis, quantiles by name, colour).
    """
    for y, q, colour in rows:
        axes.plot([q["p05"], q["p95"]], [y, y], color=colour, linewidth=1, solid_capstyle="butt")
        axes.barh(
            y, q["p75"] - q["p25"], height, left=q["p25"], color=colour, alpha=0.55, linewidth=0
        )
        middle = [y - height / 2, y + height / 2]
        axes.plot([q["p50"]] * 2, middle, color=INK, linewidth=1.3, solid_capstyle="butt")
        axes.plot([q["min"], q["max"]], [y, y], ".", color=colour, markersize=3)

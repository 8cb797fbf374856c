"""The colours of values in tables and heat maps, as CSS classes.

On a dark page the scale is turned round, so that a high value stands out on either.
"""

from __future__ import annotations

# ColorBrewer's YlGnBu, colour-blind safe.
ANCHORS = (
    (255, 255, 217),
    (237, 248, 177),
    (199, 233, 180),
    (127, 205, 187),
    (65, 182, 196),
    (29, 145, 192),
    (34, 94, 168),
    (37, 52, 148),
    (8, 29, 88),
)
STEPS = 20  # levels of the scale, besides the lowest


def _mixed(share: float) -> tuple[int, int, int]:
    place = share * (len(ANCHORS) - 1)
    k = min(int(place), len(ANCHORS) - 2)
    pairs = zip(ANCHORS[k], ANCHORS[k + 1], strict=True)
    red, green, blue = (round(a + (b - a) * (place - k)) for a, b in pairs)
    return red, green, blue


LEVELS = ["#{:02x}{:02x}{:02x}".format(*_mixed(k / STEPS)) for k in range(STEPS + 1)]
"""The colours from 0 to 1."""


def level_of(share: float) -> int:
    """The number of the colour of a share; outside 0..1 it is that of the end."""
    return round(min(max(share, 0.0), 1.0) * STEPS)


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2) of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


INKS = ["#000000" if _luminance(colour) > 0.179 else "#ffffff" for colour in LEVELS]
"""The colour of text on each level: dark where it contrasts more than white."""


def css() -> str:
    """The scale as variables, light and dark, and what is drawn with it: ``h7`` fills a shape with
    level 7, ``b7`` is a table's cell, ``i7`` text on it."""
    turned = f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(-1)} }} }}"
    rules = (
        f".h{k} {{ fill: var(--h{k}); }} .plot .i{k} {{ fill: var(--i{k}); }} "
        f".b{k} {{ background-color: var(--h{k}); color: var(--i{k}); }}"
        for k in range(STEPS + 1)
    )
    return "\n".join([f":root {{ {_variables(1)} }}", turned, *rules, ""])


def _variables(direction: int) -> str:
    pairs = enumerate(zip(LEVELS[::direction], INKS[::direction], strict=True))
    return " ".join(f"--h{k}: {colour}; --i{k}: {ink};" for k, (colour, ink) in pairs)

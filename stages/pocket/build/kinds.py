"""Which folder or emoji subgroup shows which kind of thing: the ten kinds of the alignment pool.

The first matching prefix (folders) or exact name (emoji subgroups) decides; None means that the
place is too mixed to say.
"""

from __future__ import annotations

KINDS = ("animal", "plant", "food", "vehicle", "building",
         "person", "clothing", "tool", "symbol", "sky")  # fmt: skip

CLIPART = {
    "animals": "animal",
    "plants": "plant",
    "food": "food",
    "transportation/roadsigns": "symbol",
    "transportation/aiga-symbols": "symbol",
    "transportation": "vehicle",
    "buildings/furniture": "tool",
    "buildings": "building",
    "people/clothing": "clothing",
    "people/smilies": None,
    "people/bodypart": None,
    "people": "person",
    "tools": "tool",
    "electronics": "tool",
    "office": "tool",
    "computer/hardware": "tool",
    "computer/icons": "symbol",
    "signs_and_symbols/weather": "sky",
    "signs_and_symbols/clocks": "tool",
    "signs_and_symbols/money": None,
    "signs_and_symbols": "symbol",
    "science/astronomy": "sky",
    "geography/astronomy": "sky",
    "shapes": "symbol",
}
STAMPS = {
    "animals": "animal",
    "plants": "plant",
    "food": "food",
    "clothes": "clothing",
    "household": "tool",
    "medical": "tool",
    "military/vehicles": "vehicle",
    "naturalforces": "sky",
    "people/body_parts": None,
    "people": "person",
    "space": "sky",
    "symbols": "symbol",
    "town/flags": None,
    "town/roadsigns": "symbol",
    "town": "building",
    "vehicles": "vehicle",
}
EMOJI = {
    "animal-amphibian": "animal",
    "animal-bird": "animal",
    "animal-bug": "animal",
    "animal-mammal": "animal",
    "animal-marine": "animal",
    "animal-reptile": "animal",
    "plant-flower": "plant",
    "plant-other": "plant",
    "food-asian": "food",
    "food-fruit": "food",
    "food-marine": "food",
    "food-prepared": "food",
    "food-sweet": "food",
    "food-vegetable": "food",
    "drink": "food",
    "transport-air": "vehicle",
    "transport-ground": "vehicle",
    "transport-water": "vehicle",
    "place-building": "building",
    "place-religious": "building",
    "person": "person",
    "person-activity": "person",
    "person-fantasy": "person",
    "person-gesture": "person",
    "person-resting": "person",
    "person-role": "person",
    "person-sport": "person",
    "family": "person",
    "clothing": "clothing",
    "dishware": "tool",
    "computer": "tool",
    "household": "tool",
    "light & video": "tool",
    "lock": "tool",
    "office": "tool",
    "phone": "tool",
    "science": "tool",
    "tool": "tool",
    "writing": "tool",
    "sky & weather": "sky",
    "alphanum": "symbol",
    "arrow": "symbol",
    "av-symbol": "symbol",
    "currency": "symbol",
    "gender": "symbol",
    "geometric": "symbol",
    "keycap": "symbol",
    "math": "symbol",
    "other-symbol": "symbol",
    "punctuation": "symbol",
    "religion": "symbol",
    "transport-sign": "symbol",
    "warning": "symbol",
    "zodiac": "symbol",
}
# Emoji that Unicode files under vehicles although they are none.
ROADSIDE = {"fuel pump", "horizontal traffic light", "vertical traffic light", "stop sign",
            "construction", "bus stop", "motorway", "railway track", "oil drum", "wheel", "anchor",
            "police car light", "seat", "ring buoy", "station"}  # fmt: skip


def by_folder(folder: str, table: dict[str, str | None]) -> str | None:
    """The kind of the first (most special) prefix of `folder` in the table."""
    for prefix, kind in table.items():
        if folder == prefix or folder.startswith(prefix + "/"):
            return kind
    return None

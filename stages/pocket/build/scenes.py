"""The five tasks about composed pictures: maps, signs, charts, numbers and flags."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from . import images
from .draw import COLOURS, nearest_colour, page, photographed, write
from .knobs import KNOBS
from .maps import Map, Region
from .objects import share_of
from .rows import choice, row
from .sources import npm_folder, share
from .texts import Digit, font_files

ALIKE = 0.08  # flags whose signatures are closer than this are too similar to ask about
Make = Callable[[str, int, Random], dict]


def maps_ground(maps: list[Map]) -> Make:
    """The box of a region on a cut-out of a map; the knowledge tells its colour and place."""
    knobs = KNOBS["maps_ground"]
    regions = defaultdict(list)
    for item in (m for m in maps if m.key != "world_continents"):  # its capitals are summits
        for region in item.regions:
            sides = _pixels(region, item.image)
            least = min(sides[2] - sides[0], sides[3] - sides[1])
            if least >= knobs["least_px"] and region.compact > 0.95:
                regions[item.share].append((item, region))

    def make(split: str, number: int, rng: Random) -> dict:
        found = None
        while not found:  # a region whose neighbour has its colour is passed over
            item, region = rng.choice(regions[split])
            found = _cut(item, region, rng)
        picture, box, place = found
        colour = nearest_colour(region.colour)
        position = f" and lies in the {place} of the map" if knobs["where"] else ""
        facts = f"{region.name} is {colour}{position}."
        if region.capital:
            facts = f"The capital of {region.name} is {region.capital}. {facts}"
        return row(
            picture, [f"maps/{item.key}"], "maps", "GPL-2.0-or-later",
            question=region.name, knowledge=facts, box=box,
            answers=[", ".join(f"{v:g}" for v in box)],
        )  # fmt: skip

    return make


def _pixels(region: Region, image: Image.Image) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = region.box
    return x1 * image.width, y1 * image.height, x2 * image.width, y2 * image.height


def _cut(item: Map, region: Region, rng: Random):
    """A square cut-out around the region: (picture, box in its pixels, place in words), or None
    if another large region in it has the same colour name."""
    knobs = KNOBS["maps_ground"]
    x1, y1, x2, y2 = _pixels(region, item.image)
    largest = min(item.image.size)
    side = min(largest, rng.uniform(*knobs["zoom"]) * max(x2 - x1, y2 - y1))
    if side < 1.2 * max(x2 - x1, y2 - y1):
        return None
    left = rng.uniform(max(0, x2 - side), min(x1, item.image.width - side))
    top = rng.uniform(max(0, y2 - side), min(y1, item.image.height - side))
    name = nearest_colour(region.colour)
    rivals = 0
    for other in item.regions:
        ox1, oy1, ox2, oy2 = _pixels(other, item.image)
        width = min(ox2, left + side) - max(ox1, left)
        height = min(oy2, top + side) - max(oy1, top)
        if other is region or width <= 0 or height <= 0 or width * height < 0.01 * side**2:
            continue
        rivals += 1
        if nearest_colour(other.colour) == name:
            return None
    if rivals > knobs["others"] or rivals == 0 or name in ("white", "gray", "black"):
        return None
    scale = knobs["side"] / side
    corners = (round(left), round(top), round(left + side), round(top + side))
    picture = item.image.crop(corners).resize((knobs["side"],) * 2, Image.Resampling.LANCZOS)
    box = [
        round((v - o) * scale, 1) for v, o in zip((x1, y1, x2, y2), (left, top) * 2, strict=True)
    ]
    box = [min(max(v, 0.0), float(knobs["side"])) for v in box]
    column = ("west", "", "east")[int(3 * (box[0] + box[2]) / 2 // (knobs["side"] + 1e-9))]
    line = ("north", "", "south")[int(3 * (box[1] + box[3]) / 2 // (knobs["side"] + 1e-9))]
    return picture, box, line + column or "middle"


def signs_ocr(codes: dict[str, str], work: Path) -> Make:
    """An airport's code on a sign."""
    knobs = KNOBS["signs_ocr"]
    usable = defaultdict(list)
    for code, part in codes.items():
        usable[part].append(code)
    for found in usable.values():
        Random("signs").shuffle(found)
    fonts = font_files(work)

    def make(split: str, number: int, rng: Random) -> dict:
        code = usable[split][number % len(usable[split])]
        side = knobs["side"]
        canvas, _ = page(rng, side)
        height = rng.randint(side * 4 // 10, side * 6 // 10)
        top = rng.randint(2, side - height - 10)
        board = (2, top, side - 3, top + height)
        ink, ground = rng.choice(
            [("white", "green"), ("white", "blue"), ("white", "brown"), ("black", "yellow"),
             ("white", "black"), ("white", "red"), ("black", "white")]
        )  # fmt: skip
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((side // 2 - 4, top + height, side // 2 + 4, side), fill=(120, 120, 120))
        tones = {**COLOURS, "white": (255, 255, 255)}
        draw.rounded_rectangle(board, 6, fill=tones[ground], outline=tones[ink], width=2)
        inner = (board[0] + 6, board[1] + 5, board[2] - 6, board[3] - 5)
        write(canvas, code, inner, rng.choice(fonts), tones[ink])
        return row(
            canvas, [f"codes/{code}"], "vega-datasets", "CC-BY-4.0 and public domain",
            question="Which airport code is written on the sign?", answers=[code],
        )  # fmt: skip

    return make


def numbers_ocr(digits: list[Digit]) -> Make:
    """Handwritten digits side by side, dark on a light page."""
    knobs = KNOBS["numbers_ocr"]
    usable = defaultdict(list)
    for digit in digits:
        usable[digit.share].append(digit)

    def make(split: str, number: int, rng: Random) -> dict:
        count = rng.randint(*knobs["digits"])
        chosen = rng.sample(usable[split], count)
        while chosen[0].value == 0:
            chosen = rng.sample(usable[split], count)
        side = knobs["side"]
        canvas, _ = page(rng, side)
        each = (side - 8) // max(count, 2)
        ink = Image.new(
            "RGB", (each, each), rng.choice([(20, 20, 20), (20, 40, 140), (140, 20, 20)])
        )
        x = rng.randint(2, side - 2 - each * count)
        y = rng.randint(4, side - 4 - each)
        for place, digit in enumerate(chosen):
            mask = digit.image.resize((each, each), Image.Resampling.BICUBIC)
            canvas.paste(ink, (x + place * each, y + rng.randint(-3, 3)), mask)
        return row(
            canvas, [d.key for d in chosen], "mnist", "MIT", question="What number is written?",
            answers=["".join(str(d.value) for d in chosen)],
        )  # fmt: skip

    return make


def charts_vqa(work: Path) -> Make:
    """Lying bars of real figures; asked for the name or the colour of the longest or shortest."""
    knobs = KNOBS["charts_vqa"]
    tables = _tables(work)
    font = share(work) / "fonts/truetype/dejavu/DejaVuSans-Bold.ttf"

    def make(split: str, number: int, rng: Random) -> dict:
        count = rng.randint(*knobs["bars"])
        key, noun, table = rng.choice(tables[split])
        while True:
            names = rng.sample(sorted(table), count)
            values = [table[name] for name in names]
            ordered = sorted(values)
            if all(b - a > 0.12 * ordered[-1] for a, b in zip(ordered, ordered[1:], strict=False)):
                break
        colours = rng.sample(sorted(set(COLOURS) - {"gray", "brown"}), count)
        extreme = rng.choice(["longest", "shortest"])
        place = values.index(max(values) if extreme == "longest" else min(values))
        by_name = rng.random() < knobs["by_name"]
        question = (
            f"Which {noun} has the {extreme} bar?" if by_name
            else f"What colour is the {extreme} bar?"
        )  # fmt: skip
        picture = _bars(knobs["side"], names, values, colours, font)
        return row(
            picture, [key], "vega-datasets", "CC-BY-4.0" if noun == "country" else "public domain",
            question=question, answers=[names[place] if by_name else colours[place]],
        )  # fmt: skip

    return make


def _bars(
    side: int, names: list[str], values: list[float], colours: list[str], font: Path
) -> Image.Image:
    """Each bar below its name, drawn to a common scale."""
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    step, text = side // len(names), 14
    face = ImageFont.truetype(str(font), 13)
    for i, (name, value, colour) in enumerate(zip(names, values, colours, strict=True)):
        top, length = i * step, 4 + (side - 10) * value / max(values)
        draw.text((2, top), name, fill="black", font=face, anchor="la")
        draw.rectangle((2, top + text + 2, 2 + length, top + step - 4), fill=COLOURS[colour])
    return canvas


def _tables(work: Path) -> dict[str, list[tuple[str, str, dict[str, float]]]]:
    """(key, noun, {name: value}) by share: countries by year, months by year."""
    data = npm_folder(work, "vega-datasets") / "data"
    tables = defaultdict(dict)
    for entry in json.loads((data / "gapminder.json").read_text("utf-8")):
        if len(entry["country"]) <= 7:
            for column in ("life_expect", "fertility", "pop"):
                key = f"charts/gapminder/{column}/{entry['year']}"
                tables[key, "country"][entry["country"]] = float(entry[column])
    months = "January February March April May June July August September October November December"
    with (data / "seattle-weather.csv").open(encoding="utf-8", newline="") as lines:
        for entry in csv.DictReader(lines):
            year, month = entry["date"].split("-")[:2]
            name = months.split()[int(month) - 1]
            for column in ("precipitation", "temp_max", "temp_min", "wind"):
                table = tables[f"charts/seattle-weather/{column}/{year}", "month"]
                table[name] = table.get(name, 0.0) + float(entry[column])
    found = defaultdict(list)
    for (key, noun), table in sorted(tables.items()):
        part = share_of(key, 0.0, 0.7)
        if _spread(table):
            found[part].append((key, noun, table))
    return found


def _spread(table: dict[str, float]) -> bool:
    """Are the values positive and different enough that bars can be told apart?"""
    values = sorted(table.values())
    return values[0] > 0 and values[0] < 0.4 * values[-1]


def flags_choice(work: Path) -> Make:
    """National flags seen askew; countries are shared by the splits, views are not."""
    knobs = KNOBS["flags_choice"]
    flags = _flags(work)
    chosen = sorted(Random("flags").sample(sorted(flags), knobs["countries"]))

    def make(split: str, number: int, rng: Random) -> dict:
        country = chosen[number % len(chosen)]
        wrong = rng.sample([name for name in chosen if name != country], knobs["options"] - 1)
        picture = photographed(flags[country], knobs["side"], rng, knobs["turn"], knobs["tilt"])
        return row(
            picture, [f"flags/{country}"], "iso-flags", "public domain",
            question="Which country's flag is this?", **choice(rng, country, wrong),
        )  # fmt: skip

    return make


def _flags(work: Path) -> dict[str, Image.Image]:
    """Flags (RGBA) by short country name, without those that look like another one's."""
    codes = json.loads((share(work) / "iso-codes/json/iso_3166-1.json").read_text("utf-8"))
    folder = share(work) / "iso-flags-png-320x240"
    files = {path.stem: path for path in sorted(folder.rglob("*.png"))}
    flags = {}
    for entry in codes["3166-1"]:
        file = files.get(entry["alpha_2"].lower())
        if file:
            flags[entry.get("common_name", entry["name"])] = images.read_rgba(file)
    marks = {name: images.signature(flag) for name, flag in flags.items()}

    def alone(name: str) -> bool:
        others = (mark for other, mark in marks.items() if other != name)
        return all(((marks[name] - mark) ** 2).mean() ** 0.5 > ALIKE for mark in others)

    return {
        n: f for n, f in flags.items() if len(n) <= 14 and n.replace(" ", "").isalpha() and alone(n)
    }

"""The master table of pictured objects: stamps, clipart and emoji, named, de-duplicated and split.

Every object belongs to one of three shares by the hash of its key (near-identical pictures share
one key): `pool` aligns the backbone, `train` and `test` feed the stream. So no picture that a task
shows was seen in alignment, and no test picture was trained on in any task.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import images, kinds
from .naming import UNFIT, Namer, from_description, sentence
from .sources import python_folder, share
from .wordnet import WordNet

# Shares of (pool, train) per source; the rest is test. Sources that no task uses go to the pool.
SHARES = {"stamps": (0.55, 0.33), "clipart": (0.66, 0.24), "emoji": (0.62, 0.27)}
COLLECTION = 6  # a title that so many clipart files bear names the collection, not the picture
SAME = 0.045  # root-mean-square distance of two signatures below which pictures count as one


@dataclass(frozen=True)
class Thing:
    """One cut-out picture with what is known about it."""

    key: str
    image: Image.Image = field(repr=False)
    name: str
    caption: str | None
    kind: str | None
    tags: tuple[str, ...]
    folder: str
    source: str
    licence: str
    own_title: bool = True  # the name was given to this very picture, not to its drawer
    group: str = ""  # key of the first look-alike: one group is in one share and one split
    share: str = ""


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def share_of(key: str, pool: float, train: float) -> str:
    """pool, train or test, by hash."""
    place = fraction(key)
    return "pool" if place < pool else "train" if place < pool + train else "test"


def collect(work: Path) -> list[Thing]:
    """All objects, each with its share, sorted by key."""
    wordnet = WordNet(share(work) / "wordnet")
    things = [*stamps(work), *clipart(work, Namer(wordnet)), *emoji(work)]
    things = sorted((t for t in things if images.presentable(t.image)), key=lambda t: t.key)
    return settle([replace(thing, share=_share(thing)) for thing in deduplicate(things)])


def settle(things: list[Thing]) -> list[Thing]:
    """Leave out what another source's or drawer's shares would part from its look-alikes."""
    first = {}
    for thing in things:
        first.setdefault(thing.group, thing.share)
    return [thing for thing in things if thing.share == first[thing.group]]


def _share(thing: Thing) -> str:
    return share_of(thing.group, *SHARES[thing.source]) if used(thing) else "pool"


def used(thing: Thing) -> bool:
    """False for the drawers that no task of the stream draws from: the pool has them all."""
    spare = ("computer/icons", "recreation/games/cards", "shapes", "signs_and_symbols", "symbols")
    return thing.source == "emoji" or not thing.folder.startswith(spare)


def deduplicate(things: list[Thing]) -> list[Thing]:
    """Drop repeated pictures of one name and give every other its look-alikes' group.

    Nearly pixel-identical signatures are dropped; close ones (recoloured or slightly redrawn)
    are kept but share a group, so that they land in one share.
    """
    signatures = np.stack([images.signature(thing.image) for thing in things])
    group = list(range(len(things)))
    kept = [replace(things[0], group=things[0].key)]
    for i in range(1, len(things)):
        distance = np.sqrt(((signatures[:i] - signatures[i]) ** 2).mean(axis=1))
        nearest = int(distance.argmin())
        if distance[nearest] < SAME:
            group[i] = group[nearest]
        if distance[nearest] >= SAME / 4 or things[nearest].name != things[i].name:
            kept.append(replace(things[i], group=things[group[i]].key))
    return kept


def stamps(work: Path) -> Iterator[Thing]:
    """TuxPaint's stamps; the first line of `NAME.txt` is the English description."""
    root = share(work) / "tuxpaint" / "stamps"
    for text in sorted(root.rglob("*.txt")):
        folder = text.parent.relative_to(root).as_posix()
        picture = next((p for p in map(text.with_suffix, (".png", ".svg")) if p.exists()), None)
        caption = text.read_text("utf-8").splitlines()[0].strip()
        if picture is None or "german" in folder or "spanish" in folder or "outlined" in folder:
            continue
        raw = (
            images.render_svg(picture, python_folder(work))
            if picture.suffix == ".svg"
            else images.read_rgba(picture)
        )
        image = raw and images.cut_out(raw)
        if image and caption:
            name = from_description(caption)
            good = name is not None and len(caption) <= 110 and caption[0].isupper()
            yield Thing(
                key=f"stamps/{folder}/{text.stem}",
                image=image,
                name=name or re.sub(r"[\d_-]+", " ", text.stem).strip(),
                caption=caption if good else None,
                kind=kinds.by_folder(folder, kinds.STAMPS),
                tags=tuple(dict.fromkeys(folder.split("/"))),
                folder=folder,
                source="stamps",
                licence="GPL-2.0-or-later",
                own_title=good,
            )


def clipart(work: Path, namer: Namer) -> Iterator[Thing]:
    """Open Clip Art's PNGs whose SVG metadata say public domain; titles are often noise."""
    root = share(work) / "openclipart"
    metadata = {p: clipart_metadata(p) for p in sorted((root / "svg").rglob("*.svg"))}
    times = Counter(entry[0] for entry in metadata.values() if entry)
    skipped = ("shapes/stars", "special", "shapes/jigsaw", "logos", "recreation/games/cards/cardb",
               "computer/icons/flat-theme", "computer/icons/lemon-theme/actions")  # fmt: skip
    for picture in sorted((root / "png").rglob("*.png")):
        relative = picture.relative_to(root / "png")
        folder, stem = relative.parent.as_posix(), picture.stem
        entry = metadata.get(root / "svg" / relative.with_suffix(".svg"))
        if picture.is_symlink() or entry is None or folder.startswith(skipped):
            continue
        title, description, keywords = entry
        icon = folder.startswith("computer/icons")
        words = " ".join([stem, title, description, *keywords])
        if "flag" in f"{folder} {keywords}" or UNFIT.search(words):
            continue  # flags would give away the flags task
        image = images.read_rgba(picture)
        image = image and images.cut_out(image)
        if image is None:
            continue
        title = title if times[title] < COLLECTION else ""
        named = namer.clipart(title, stem, keywords, folder)
        if named is None or (icon and not named[1]):
            continue
        name, own = named
        yield Thing(
            key=f"clipart/{folder}/{stem}",
            image=image,
            name=name,
            caption=sentence(name) if own else None,
            kind=kinds.by_folder(folder, kinds.CLIPART),
            tags=tuple(dict.fromkeys([*keywords, *re.split(r"[/_-]", folder)])),
            folder=folder,
            source="clipart",
            licence="public domain",
            own_title=own,
        )


def clipart_metadata(svg: Path) -> tuple[str, str, list[str]] | None:
    """(title, description, keywords), or None unless marked as public domain."""
    match = re.search(r"<metadata.*?</metadata>", svg.read_text("utf-8", "replace"), re.DOTALL)
    metadata = match.group(0) if match else ""
    if not re.search(r"public ?domain", metadata, re.IGNORECASE) or "licenses/GPL" in metadata:
        return None
    title = re.search(r"<dc:title>(.*?)</dc:title>", metadata, re.DOTALL)
    description = re.search(r"<dc:description>(.*?)</dc:description>", metadata, re.DOTALL)
    subject = re.search(r"<dc:subject>(.*?)</dc:subject>", metadata, re.DOTALL)
    keywords = re.findall(r"<rdf:li>(.*?)</rdf:li>", subject.group(1)) if subject else []
    keywords = [word.strip().lower() for word in keywords if re.fullmatch(r"[\w -]{3,30}", word)]
    text = [unescape(m.group(1)).strip() if m else "" for m in (title, description)]
    return text[0], text[1], list(dict.fromkeys(keywords))


def emoji(work: Path) -> Iterator[Thing]:
    """Unicode's emoji (no flags, no skin tones) as Noto draws them."""
    font = ImageFont.truetype(
        str(share(work) / "fonts/truetype/noto/NotoColorEmoji.ttf"), 109,
        layout_engine=ImageFont.Layout.RAQM,
    )  # fmt: skip
    group = subgroup = ""
    for line in (share(work) / "unicode/emoji/emoji-test.txt").read_text("utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":")[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":")[1].strip()
        elif "; fully-qualified" in line and group != "Flags" and "skin tone" not in line:
            codes = line.split(";")[0].split()
            name = re.split(r"E\d+\.\d+ ", line)[1].strip().replace("“", "").replace("”", "")
            page = Image.new("RGBA", (160, 160))
            text = "".join(chr(int(code, 16)) for code in codes)
            ImageDraw.Draw(page).text((10, 10), text, font=font, embedded_color=True)
            image = images.cut_out(page)
            if image:
                yield Thing(
                    key=f"emoji/{'-'.join(codes)}",
                    image=image,
                    name=name.replace(":", ""),
                    caption=sentence(name.replace(":", "")),
                    kind=None if name in kinds.ROADSIDE else kinds.EMOJI.get(subgroup),
                    tags=(group, subgroup),
                    folder=f"{group}/{subgroup}",
                    source="emoji",
                    licence="OFL-1.1",
                )

"""A small reader of WordNet 3.0's database files: senses, hypernyms, glosses, English words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Lexicographer files (man lexnames) whose nouns one can see.
CONCRETE = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 18: "person",
            19: "phenomenon", 20: "plant", 25: "shape", 27: "substance"}  # fmt: skip


@dataclass(frozen=True)
class Synset:
    """One noun sense."""

    offset: int
    lexname: int
    words: tuple[str, ...]
    hypernyms: tuple[int, ...]
    gloss: str


class WordNet:
    """Nouns by lemma, most frequent sense first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.synsets = {s.offset: s for s in map(_synset, _lines(folder / "data.noun"))}
        self.index = {}
        for line in _lines(folder / "index.noun"):
            fields = line.split()
            pointers = int(fields[3])
            self.index[fields[0]] = [int(offset) for offset in fields[6 + pointers :]]

    @cached_property
    def lemmas(self) -> set[str]:
        """All lemmas of all four parts of speech that are not proper names only."""
        proper = {lemma for lemma in self.index if all(map(self._is_name, self.senses(lemma)))}
        others = (self.folder / f"index.{part}" for part in ("verb", "adj", "adv"))
        return (set(self.index) - proper) | {li.split()[0] for p in others for li in _lines(p)}

    def senses(self, noun: str) -> list[Synset]:
        """Senses of a noun in singular or regular plural; an empty list if it is unknown."""
        for form in _singulars(noun.lower().replace(" ", "_")):
            if form in self.index:
                return [self.synsets[offset] for offset in self.index[form]]
        return []

    def known(self, word: str) -> bool:
        """Is it an English word (singular or regular plural)?"""
        return any(form in self.lemmas for form in _singulars(word.lower()))

    def ancestors(self, synset: Synset) -> set[int]:
        """Offsets of the synset and everything above it."""
        found, queue = set(), [synset.offset]
        while queue:
            offset = queue.pop()
            if offset not in found:
                found.add(offset)
                queue.extend(self.synsets[offset].hypernyms)
        return found

    @staticmethod
    def _is_name(synset: Synset) -> bool:
        return all(word[:1].isupper() for word in synset.words)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").splitlines() if line[:1] != " "]


def _synset(line: str) -> Synset:
    """offset lexname type count-in-hex (word id)* pointers (symbol offset pos st)* | gloss"""
    data, _, gloss = line.partition("|")
    fields = data.split()
    count = int(fields[3], 16)
    words = tuple(fields[4 : 4 + 2 * count : 2])
    pointers = fields[5 + 2 * count :]
    quads = zip(pointers[0::4], pointers[1::4], pointers[2::4], strict=False)
    above = tuple(int(offset) for symbol, offset, pos in quads if symbol in "@@i" and pos == "n")
    return Synset(int(fields[0]), int(fields[1]), words, above, gloss.strip())


def _singulars(word: str) -> list[str]:
    forms = [word]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])
    return forms

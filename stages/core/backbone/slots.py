"""Slots: the places of a backbone where a LoRA expert can sit.

Every transformer block of the vision encoder and of the language model has two: ``qkv`` (the
query/key/value projection, one fused linear or three that share the slot) and ``o`` (the
attention output projection).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from torch import nn

TOWERS = ("vision", "llm")
KINDS = ("qkv", "o")

_VISION = re.compile(r"(^|\.)(vision_tower|vision_model|vision_encoder|visual)\.")
_LANGUAGE = re.compile(r"(^|\.)(language_model|text_model)\.")
_ATTENTION = re.compile(
    r"\.(?:layers?|blocks)\.(?P<block>\d+)\.(?:attn|self_attn|attention)(?:\.attention|\.output)?\."
    r"(?P<linear>[a-z_]+)$"
)
_KIND = {
    "qkv": {"q_proj", "k_proj", "v_proj", "query", "key", "value", "qkv"},
    "o": {"o_proj", "out_proj", "proj", "projection_layer", "dense"},
}


@dataclass(frozen=True, order=True)
class Slot:
    """One place for an expert; ``linears`` are full module names inside the backbone."""

    tower: str  # vision | llm
    block: int
    kind: str  # qkv | o
    linears: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]  # (out_features, in_features) of each linear

    @property
    def key(self) -> tuple[str, int, str]:
        """Identity within a backbone."""
        return self.tower, self.block, self.kind

    def lora_parameters(self, rank: int, *, fused: bool = False) -> int:
        """Parameters of a LoRA of this rank on all of the slot's linears, ``fused``: which share
        its A."""
        return lora_parameters(self.shapes, rank, fused=fused)


def lora_parameters(shapes: Iterable[Sequence[int]], rank: int, *, fused: bool) -> int:
    """Parameters of a LoRA on linears of these shapes (out, in), ``fused``: which share its A."""
    outputs, inputs = zip(*shapes, strict=True)
    return rank * (sum(outputs) + (inputs[0] if fused else sum(inputs)))


def tower_of(name: str) -> str | None:
    """``vision`` or ``llm`` by the full name of a module inside the backbone, else None."""
    return "vision" if _VISION.search(name) else "llm" if _LANGUAGE.search(name) else None


def find_slots(model: "nn.Module") -> list[Slot]:
    """All slots of a backbone: vision before language model, by block, ``qkv`` before ``o``.

    Raises:
        InputError: a tower without recognisable attention projections; the message lists the
            names of the linear modules that were found.
    """
    from torch import nn

    found: dict[tuple[str, int, str], list] = defaultdict(list)
    linears = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    for name, linear in linears:
        tower = tower_of(name)
        match = _ATTENTION.search(name)
        kind = match and next((k for k, names in _KIND.items() if match["linear"] in names), None)
        if tower and kind:
            found[tower, int(match["block"]), kind].append(
                (name, (linear.out_features, linear.in_features))
            )
    for tower in TOWERS:
        if not any(key[0] == tower for key in found):
            shapes = sorted({re.sub(r"\.\d+\.", ".N.", name) for name, _ in linears})
            raise InputError(
                f"{type(model).__name__}: no attention projections found in the {tower} tower. "
                f"Linear modules of this backbone: {', '.join(shapes) or 'none'}. "
                "Teach stages/core/backbone/slots.py their names."
            )
    order = sorted(found, key=lambda key: (TOWERS.index(key[0]), key[1], KINDS.index(key[2])))
    return [Slot(*key, *zip(*found[key], strict=True)) for key in order]

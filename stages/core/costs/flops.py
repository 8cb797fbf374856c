"""Floating-point operations of one sample, from an architecture's matrices.

A multiply-add is two operations. A matrix ``(m, n)`` at T positions takes ``2 T m n`` forward; the
gradient of its input takes the same again, that of its weight once more. Attention over T
positions with heads of total width w takes ``4 T^2 w`` forward (scores and mixing, the causal half
not saved) and twice that backward. Norms, activations and softmax are left out, as is usual.

A frozen matrix has no weight gradient, and no input gradient either where nothing below it
learns. A LoRA of rank r is the chain of two matrices ``(r, n)`` and ``(m, r)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stages.core.backbone.architecture import Architecture, Block, Matrix

Flops = dict[str, float]  # by part of the model
SlotRanks = Mapping[tuple[str, int, str], int]  # (tower, block, kind) -> rank

PARTS = ("vision", "projector", "llm", "head")


@dataclass(frozen=True)
class Sample:
    """Mean size of a sample: image tiles, positions in the language model, positions whose
    next token is predicted (the LM head sees no other)."""

    tiles: float
    tokens: float
    predicted: float


@dataclass(frozen=True)
class Learning:
    """What sits on the slots: the rank of the trained expert, the summed rank of the frozen ones,
    whether the slots' own weights get gradients (the profile), and whether the trained expert's q,
    k and v share one A."""

    trained: SlotRanks = field(default_factory=dict)
    frozen: SlotRanks = field(default_factory=dict)
    dense: bool = False
    fused: bool = False


def total(flops: Flops) -> float:
    """All parts together."""
    return sum(flops.values())


# --- one block --------------------------------------------------------------------------------


def _slot_matrices(
    linears: Sequence[Matrix], key: tuple[str, int, str], learning: Learning
) -> Iterator[tuple[int, bool, bool]]:
    """Triples (size, is it trained, does its input depend on what is trained in this slot)."""
    trained, frozen = learning.trained.get(key, 0), learning.frozen.get(key, 0)
    for linear in linears:
        yield linear.size, learning.dense, False
        yield frozen * (linear.outputs + linear.inputs), False, False
        yield trained * linear.inputs, True, False
        yield trained * linear.outputs, True, True


def _slots(block: Block, learning: Learning) -> Iterator[list[tuple[int, bool, bool]]]:
    for kind, linears in (("qkv", block.qkv), ("o", (block.o,))):
        yield list(_slot_matrices(linears, (block.tower, block.number, kind), learning))


def block_forward(block: Block, positions: float, learning: Learning) -> float:
    """``2 T (weights and experts) + 4 T^2 w``."""
    size = sum(matrix.size for matrix in block.mlp)
    size += sum(part for slot in _slots(block, learning) for part, _, _ in slot)
    return 2 * positions * size + 4 * positions**2 * block.heads_width


def block_backward(
    block: Block, positions: float, learning: Learning, flows: bool
) -> tuple[float, bool]:
    """Operations, and whether the block's output depends on trained parameters.

    ``2 T`` of every matrix whose input depends on what learns (``flows`` for the block's own
    input), again ``2 T`` of those that learn, ``8 T^2 w`` if queries, keys or values depend on it.
    """
    operations, mixed = 0.0, flows
    for number, slot in enumerate(_slots(block, learning)):
        for size, learns, behind in slot:
            operations += 2 * positions * size * ((mixed or behind) + learns)
        mixed = mixed or any(size and learns for size, learns, _ in slot)
        if number == 0 and mixed:
            operations += 8 * positions**2 * block.heads_width
    flows = mixed  # the residual stream carries on what either slot adds to it
    operations += flows * 2 * positions * sum(matrix.size for matrix in block.mlp)
    return operations, flows


def _backward(
    blocks: Sequence[Block], positions: float, learning: Learning, flows: bool
) -> tuple[float, bool]:
    operations = 0.0
    for block in blocks:
        more, flows = block_backward(block, positions, learning, flows)
        operations += more
    return operations, flows


# --- one sample -------------------------------------------------------------------------------


def forward(arch: Architecture, sample: Sample, learning: Learning | None = None) -> Flops:
    """A forward pass: every tile through vision encoder and projector, the whole sequence
    through the language model, the predicted positions through the head."""
    learning = learning or Learning()
    tile: float = 2 * arch.patches * arch.patch.size
    tile += sum(block_forward(b, arch.vision_positions, learning) for b in arch.vision)
    projector = 2 * arch.tile_tokens * sum(matrix.size for matrix in arch.projector)
    return {
        "vision": sample.tiles * tile,
        "projector": sample.tiles * projector,
        "llm": sum(block_forward(b, sample.tokens, learning) for b in arch.llm),
        "head": 2 * sample.predicted * arch.head.size,
    }


def backward(arch: Architecture, sample: Sample, learning: Learning) -> Flops:
    """A backward pass, from the loss down to the lowest block that learns."""
    ahead = forward(arch, sample)
    tile, flows = _backward(arch.vision, arch.vision_positions, learning, False)
    flows = flows and sample.tiles > 0
    llm, reached = _backward(arch.llm, sample.tokens, learning, flows)
    return {
        "vision": sample.tiles * tile,
        "projector": flows * ahead["projector"],
        "llm": llm,
        "head": reached * ahead["head"],
    }


def features(arch: Architecture, images: float, tokens: float) -> Flops:
    """One tile per image through the vision encoder, the bare question through the language
    model; neither projector nor head."""
    whole = forward(arch, Sample(images, tokens, 0))
    return whole | {"projector": 0.0}


def decoding(arch: Architecture, prompt: float, new: float, learning: Learning) -> Flops:
    """The tokens after the first one, with cached keys and values.

    The first comes from the prompt's forward pass. Token j of the others (j = 1 .. new - 1) takes
    ``2 (weights and experts)`` in the blocks, ``4 w (prompt + j)`` in attention, and the head.
    """
    steps = max(new - 1, 0.0)
    context = steps * prompt + steps * (steps + 1) / 2  # sum of prompt + j
    width = sum(block.heads_width for block in arch.llm)
    single = sum(block_forward(b, 1, learning) - 4 * b.heads_width for b in arch.llm)
    return {"llm": steps * single + 4 * width * context, "head": steps * 2 * arch.head.size}


def cache_bytes(arch: Architecture, element: int = 2) -> int:
    """Keys and values of one position in all blocks."""
    return element * sum(sum(m.outputs for m in b.qkv) - b.heads_width for b in arch.llm)


def decoding_bytes(
    arch: Architecture, prompt: float, new: float, batch: int, element: int = 2
) -> float:
    """Memory traffic of a sample's share of decoding in a batch: every step reads the language
    model's weights once for the whole batch, and each sample's own cache."""
    steps = max(new - 1, 0.0)
    weights = element * (sum(m.size for b in arch.llm for m in b.matrices) + arch.head.size)
    context = steps * prompt + steps * (steps + 1) / 2
    return steps * weights / batch + cache_bytes(arch, element) * context

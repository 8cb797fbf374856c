"""Memory of the GPU stages at their fullest, from an architecture's matrices.

``docs/memory.md`` has the formulas in words, held against a count of what the stages' own code
keeps. CUDA itself, work space and fragmentation come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.backbone.architecture import Architecture, Block
from stages.core.costs.flops import Learning, Sample, SlotRanks, block_backward, cache_bytes

SINGLE = 4  # bytes of a number in float32: experts, their gradients and Adam's moments, norms
HALF = 2  # of one in bfloat16: the backbone
NF4 = 0.5 + SINGLE / 64  # of one in 4 bits; 64 of them share a scale


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU by what they hold."""

    weights: float
    experts: float = 0.0
    gradients: float = 0.0
    optimiser: float = 0.0
    caches: float = 0.0
    activations: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        held = self.weights + self.experts + self.gradients
        return held + self.optimiser + self.caches + self.activations


# --- the stages -------------------------------------------------------------------------------


def training(
    arch: Architecture,
    sample: Sample,
    learning: Learning,
    batch: int,
    *,
    dropout: float,
    checkpointing: bool,
) -> Memory:
    """Of a training step: the forward pass in bfloat16, all that learns in float32."""
    own = expert_parameters(arch, learning.trained, fused=learning.fused)
    kept = activations(arch, sample, learning, checkpointing=checkpointing, dropout=dropout)
    return Memory(
        weights=weights(arch),
        experts=SINGLE * (own + expert_parameters(arch, learning.frozen)),
        gradients=SINGLE * own,
        optimiser=2 * SINGLE * own,
        activations=batch * kept,
    )


def profile(arch: Architecture, sample: Sample, batch: int, *, checkpointing: bool) -> Memory:
    """Of a profile: the slots' gradients are summed in float32, and each is freed at once."""
    slots = [rows * columns for slot in arch.slots for rows, columns in slot.shapes]
    kept = activations(arch, sample, Learning(dense=True), checkpointing=checkpointing)
    return Memory(
        weights=weights(arch),
        gradients=SINGLE * sum(slots) + (HALF + SINGLE) * max(slots),
        activations=batch * kept,
    )


def features(arch: Architecture, tiles: float, tokens: float, batch: int) -> Memory:
    """Of features: the tiles of one thumbnail per image, then texts of so many tokens."""
    vision = tiles * arch.vision_positions * max(map(passing, arch.vision))
    text = tokens * max(map(passing, arch.llm))
    return Memory(weights(arch), activations=batch * max(vision, text))


def prediction(
    arch: Architecture, sample: Sample, learning: Learning, batch: int, new: float
) -> Memory:
    """Of greedy decoding: ``sample.tokens`` in the prompt, ``new`` tokens after it.

    The prompt's pass is the fullest moment of the activations. Keys and values are kept for all
    positions, and those of one block twice while a position is added.
    """
    positions = sample.tokens + new
    vision = sample.tiles * arch.vision_positions * max(map(passing, arch.vision))
    text = sample.tokens * max(map(passing, arch.llm)) + sample.tokens**2 * (HALF + 1)
    return Memory(
        weights=weights(arch),
        experts=SINGLE * expert_parameters(arch, learning.frozen),
        caches=batch * positions * cache_bytes(arch) * (1 + 1 / len(arch.llm)),
        activations=batch * max(vision, text),
    )


# --- their parts ------------------------------------------------------------------------------


def weights(arch: Architecture) -> float:
    """Bytes of the backbone on one GPU. Of divided blocks it holds its share, and two whole: one
    that computes and the next."""
    blocks = [sum(matrix.size for matrix in block.matrices) for block in arch.llm]
    whole = HALF * (arch.parameters - sum(blocks))
    if arch.quantization == "4bit":
        return whole + NF4 * sum(blocks)
    gathered = 2 * max(blocks) if arch.shards > 1 else 0
    return whole + HALF * (sum(blocks) / arch.shards + gathered)


def expert_parameters(arch: Architecture, ranks: SlotRanks, *, fused: bool = False) -> int:
    """Parameters of an expert: ``r (m + n)`` of every linear of its slots, ``fused``: which share
    their A."""
    return sum(slot.lora_parameters(ranks.get(slot.key, 0), fused=fused) for slot in arch.slots)


def passing(block: Block) -> float:
    """Bytes that one position of a block needs while it passes, when nothing is kept.

    The residual stream and the norm's output, and either the MLP's inner width (with a gate: both
    factors and the product) or queries, keys, values and the heads' output.
    """
    inner = block.mlp[0].outputs * (3 if len(block.mlp) == 3 else 2)
    mixing = sum(matrix.outputs for matrix in block.qkv) + 2 * block.heads_width
    return HALF * (2 * block.qkv[0].inputs + max(inner, mixing))


def block_activations(block: Block, learning: Learning, element: int, dropout: float) -> float:
    """Bytes that one position of a block keeps for the backward pass, with fused attention.

    The inputs of both norms in float32; queries, keys and values (keys and values repeated to
    the queries' heads), and the heads' output; in the MLP the input of the activation, and with a
    gate both factors of the product too. What learns keeps its input: once where there is no
    dropout (that of ``o`` is the heads' output anyway), else per linear with a mask of one byte.
    """
    width = block.qkv[0].inputs
    inner = block.mlp[0].outputs * (3 if len(block.mlp) == 3 else 1)
    kept = 2 * SINGLE * width + element * (4 * block.heads_width + inner)
    for kind, linears in (("qkv", block.qkv), ("o", (block.o,))):
        rank = learning.trained.get((block.tower, block.number, kind), 0)
        if rank and dropout:
            kept += sum(linear.inputs for linear in linears) * (element + 1)
        elif (rank or learning.dense) and kind == "qkv":
            kept += element * width
        kept += element * rank * len(linears)
    return kept


def activations(
    arch: Architecture,
    sample: Sample,
    learning: Learning,
    *,
    element: int = HALF,
    checkpointing: bool = False,
    dropout: float = 0.0,
) -> float:
    """Bytes that one sample keeps for the backward pass.

    Blocks below the lowest one that learns keep nothing. Language blocks also keep the mask of a
    padded batch, T^2 numbers, and the final norm its input. With checkpointing every block keeps
    its input alone, and one block at a time what it would keep without. The head's logits lie
    there in the model's precision, in float32, and as a float32 gradient.
    """
    kept, largest, flows = 0.0, 0.0, False
    mask = element * sample.tokens**2
    towers = (
        (arch.vision, sample.tiles * arch.vision_positions, 0.0),
        (arch.llm, sample.tokens, mask),
    )
    for blocks, positions, beside in towers:
        for block in blocks:
            _, flows = block_backward(block, 1, learning, flows)
            whole = positions * block_activations(block, learning, element, dropout) + beside
            largest = max(largest, flows * whole)
            inputs = positions * block.qkv[0].inputs * element
            kept += flows * (inputs if checkpointing else whole)
        if blocks is arch.vision:
            kept += flows * sample.tiles * arch.tile_tokens * _projector_bytes(arch, element)
    kept += flows * sample.tokens * SINGLE * arch.head.inputs
    kept += sample.predicted * arch.head.outputs * (element + 2 * SINGLE)
    return kept + (largest if checkpointing else 0.0)


def _projector_bytes(arch: Architecture, element: int) -> int:
    """Of one image token: the first norm's and the activation's input."""
    first = arch.projector[0]
    return SINGLE * first.inputs + element * first.outputs

"""Memory of a training step, from an architecture's matrices and what learns."""

from __future__ import annotations

from stages.core.backbone.architecture import Architecture, Block
from stages.core.costs.flops import Learning, Sample, SlotRanks, block_backward

MASTER_BYTES = 16  # of a learning parameter: value, gradient and Adam's two moments in float32
FROZEN_BYTES = 4  # of a frozen expert's parameter: PEFT keeps experts in float32
NORM_BYTES = 4  # norms work in float32


def expert_parameters(arch: Architecture, ranks: SlotRanks) -> int:
    """Parameters of an expert: ``r (m + n)`` of every linear of its slots."""
    return sum(slot.lora_parameters(ranks.get(slot.key, 0)) for slot in arch.slots)


def block_activations(block: Block, learning: Learning, element: int, dropout: float) -> float:
    """Bytes that one position of a block keeps for the backward pass, with fused attention.

    The inputs of both norms in float32; queries, keys and values (keys and values repeated to
    the queries' heads), and the heads' output; in the MLP the input of the activation, and with a
    gate both factors of the product too. What learns keeps its input: once where there is no
    dropout (that of ``o`` is the heads' output anyway), else per linear with a mask of one byte.
    """
    width = block.qkv[0].inputs
    inner = block.mlp[0].outputs * (3 if len(block.mlp) == 3 else 1)
    kept = 2 * NORM_BYTES * width + element * (4 * block.heads_width + inner)
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
    element: int = 2,
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
    kept += flows * sample.tokens * NORM_BYTES * arch.head.inputs
    kept += sample.predicted * arch.head.outputs * (element + 8)
    return kept + (largest if checkpointing else 0.0)


def _projector_bytes(arch: Architecture, element: int) -> int:
    """Of one image token: the first norm's and the activation's input."""
    first = arch.projector[0]
    return NORM_BYTES * first.inputs + element * first.outputs

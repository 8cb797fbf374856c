"""Several single-turn samples about one picture in one sequence.

The picture's tokens are a shared prefix; each turn sees the prefix and itself only, and its
positions continue from the prefix. So every turn is computed exactly as in a conversation of its
own, while the picture is encoded once.
"""

from dataclasses import dataclass

import numpy

from stages.pocket.parts import IMAGE_END, IMAGE_START, IMAGE_TOKEN
from stages.pocket.pictures import Box
from stages.pocket.questions import COORDINATES, Turn

# What a token of a coordinate counts, by its digit's place from the right (units, tens, ...), and
# what the tokens between count: the last digits are noise, the text around is the same always.
PLACES, BETWEEN = (0.03, 0.3, 1.0, 1.0), 0.1
USER, ASSISTANT, END = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"


@dataclass(frozen=True)
class Packed:
    """One sequence of length L; segment 0 is the shared prefix, turns are 1, 2, ...

    ``weights`` are 0 where nothing is to be predicted; those of a turn of n answer tokens sum to
    sqrt(n), so that long answers do not drown short ones. ``families`` name the turns. ``boxes``
    are the boxes that turns locate, each with the index of the last token before the answer.
    """

    ids: numpy.ndarray
    positions: numpy.ndarray
    segments: numpy.ndarray
    weights: numpy.ndarray
    families: tuple[str, ...]
    boxes: tuple[tuple[int, Box], ...]


def prefix(image_tokens: int) -> str:
    """The text before the first question: the user's turn and the picture's tokens."""
    return f"{USER}{IMAGE_START}{IMAGE_TOKEN * image_tokens}{IMAGE_END}\n"


def pack(tokenizer, turns: list[Turn], image_tokens: int, length: int) -> Packed:
    """Pack as many turns, in order, as fit into ``length`` tokens (at least the first)."""
    start = tokenizer(prefix(image_tokens)).input_ids
    ids, positions, segments, weights = [*start], [*range(len(start))], [0] * len(start), []
    weights = [0.0] * len(start)
    families: list[str] = []
    boxes: list[tuple[int, Box]] = []
    for turn in turns:
        question = tokenizer(turn.question + ASSISTANT).input_ids
        answer = tokenizer(turn.answer + END).input_ids
        size = len(question) + len(answer)
        if families and len(ids) + size > length:
            continue
        families.append(turn.family)
        if turn.box:
            boxes.append((len(ids) + len(question) - 1, turn.box))
        ids += question + answer
        positions += range(len(start), len(start) + size)
        segments += [len(families)] * size
        weights += [0.0] * len(question) + token_weights(
            tokenizer.convert_ids_to_tokens(answer), turn.family in COORDINATES
        )
    return Packed(
        numpy.array(ids), numpy.array(positions), numpy.array(segments),
        numpy.array(weights, dtype=numpy.float32), tuple(families), tuple(boxes),
    )  # fmt: skip


def token_weights(tokens: list[str], coordinates: bool) -> list[float]:
    """Weights of n answer tokens with the sum sqrt(n): equal, or by place of a coordinate's digit.

    The tokenizer makes every digit a token of its own.
    """
    shares = [1.0] * len(tokens)
    if coordinates:
        place = -1
        for index in reversed(range(len(tokens))):
            place = place + 1 if tokens[index].isdigit() else -1
            shares[index] = PLACES[place] if place >= 0 else BETWEEN
    return [share * len(tokens) ** 0.5 / sum(shares) for share in shares]


def attention_mask(segments: numpy.ndarray) -> numpy.ndarray:
    """(L, L) bool: query i may see key j if j <= i and j is in the prefix or in i's segment."""
    same = (segments[:, None] == segments[None]) | (segments[None] == 0)
    return same & numpy.tri(len(segments), dtype=bool)

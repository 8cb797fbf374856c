"""A sentencepiece BPE model file as a fast tokenizer, without the sentencepiece library.

The model file is a protobuf message whose definition transformers carries; the `protobuf` and
`tokenizers` packages are enough. A sentencepiece BPE joins, again and again, the two neighbours
whose union is the piece of the highest score: the merges below in order of score do the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

SPACE = "\u2581"  # sentencepiece's visible blank
BPE = 2  # trainer_spec.model_type
NORMAL, USER_DEFINED = 1, 4  # piece types


def read_model(path: Path) -> Any:
    """The protobuf message of a ``tokenizer.model``.

    Raises:
        InputError: not a sentencepiece file, or one that is no BPE, or has user-defined pieces
            with blanks (which no fast tokenizer matches the way sentencepiece does).
    """
    from google.protobuf.message import DecodeError
    from transformers.utils.sentencepiece_model_pb2_new import ModelProto

    try:
        proto = ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path}: not a sentencepiece model: {error}") from None
    if proto.trainer_spec.model_type != BPE or not proto.pieces:
        raise InputError(f"{path}: not a sentencepiece BPE model with pieces.")
    spaced = [p.piece for p in proto.pieces if p.type == USER_DEFINED and SPACE in p.piece]
    if spaced or proto.trainer_spec.treat_whitespace_as_suffix:
        raise InputError(
            f"{path}: blanks at the end of words or in user-defined pieces {spaced[:3]} are not "
            "supported; put a tokenizer.json of this tokenizer beside it, it is used instead."
        )
    return proto


def merges(pieces: list[tuple[str, float]]) -> list[tuple[str, str]]:
    """All pairs whose union is a piece, best union first."""
    scores = dict(pieces)
    found = []
    for index, (piece, score) in enumerate(pieces):
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                found.append((-score, index, -scores[left], -scores[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def build(path: Path, added: dict[int, AddedToken]) -> Tokenizer:
    """The fast tokenizer of a sentencepiece BPE file.

    Args:
        path: the ``tokenizer.model``.
        added: tokens by id that are matched whole, before the model sees the text; an id below
            the model's size renames that piece.

    Raises:
        InputError: see :func:`read_model`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    proto = read_model(path)
    pieces = list(proto.pieces)
    names = [added[i].content if i in added else p.piece for i, p in enumerate(pieces)]
    learnt = [
        (p.piece, p.score) for i, p in enumerate(pieces) if p.type == NORMAL and i not in added
    ]
    core = Tokenizer(
        models.BPE(
            vocab={name: index for index, name in enumerate(names)},
            merges=merges(learnt),
            unk_token=names[proto.trainer_spec.unk_id],
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    core.normalizer = normalizers.Sequence(_normalizers(proto.normalizer_spec))
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        steps.append(decoders.Strip(" ", left=1))
    core.decoder = decoders.Sequence(steps)
    own = {
        i: AddedToken(p.piece, normalized=False, special=False)
        for i, p in enumerate(pieces)
        if p.type == USER_DEFINED and i not in added
    }
    for _, token in sorted((own | added).items()):
        core.add_special_tokens([token]) if token.special else core.add_tokens([token])
    return core


def _normalizers(spec: Any) -> list[Any]:
    """The steps of a normalizer_spec, blanks last."""
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [  # of blanks alone: line breaks stay
            normalizers.Replace(Regex(r"\A +| +\z"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    return [*steps, normalizers.Replace(" ", SPACE)]

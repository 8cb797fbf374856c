"""Image and text features of samples: the paper's (D-MoLE, Eqs. 6-7), or their meaning.

``style: max`` is the paper's: the maximum over tokens of both towers' last hidden states.
``style: meaning`` is made to survive another wording. The image half is the mean over tokens; the
text half is the state from which the language model would say in one word what the request means
(PromptEOL, Jiang et al., 2023), centred and scaled by what requests in general have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stages.core.backbone.generic_prompts import PROMPTS
from stages.core.base import distributed
from stages.core.base.ahead import ahead
from stages.core.base.halving import in_parts

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stages.core.backbone.load import Backbone

OPENING, CLOSING = 'This request about an image: "', '" means in one word: "'
SHRINKAGE = 10.0  # of the generic prompts' covariance, in units of its mean variance

_MARKS = re.compile(r"[.?!:;,。？！]+(?=\s|$)")


def image_features(backbone: Backbone, pixel_values: Tensor, style: str = "max") -> Tensor:
    """Max or mean over tokens of the vision encoder's last hidden state of thumbnails,
    ``(B, d_v)`` float32."""
    states = backbone.prompter.images.vision_states(backbone.model, pixel_values).float()
    return states.amax(dim=1) if style == "max" else states.mean(dim=1)


def text_features(
    backbone: Backbone, questions: Sequence[str], style: str = "max", frame: str = "question"
) -> Tensor:
    """Max over tokens of the language model's final-norm state of the bare text (or in its
    ``chat`` frame), or the state that says what the text means in one word; ``(B, d_t)`` float32.
    """
    prompter = backbone.prompter
    if style == "max":
        encode = prompter.plain_ids if frame == "question" else prompter.chat_ids
        ids = [encode(question) for question in questions]
    else:
        ids = [prompter.quoted_ids(OPENING, plain(text), CLOSING) for text in questions]
    encoded = prompter.tokenizer.pad(
        {"input_ids": ids}, padding=True, padding_side="right", return_tensors="pt"
    )
    encoded = {key: encoded[key].to(backbone.device) for key in ("input_ids", "attention_mask")}
    model = prompter.images.language_model(backbone.model)
    hidden = model(**encoded, use_cache=False).last_hidden_state.float()
    if style == "max":
        padding = encoded["attention_mask"][..., None] == 0  # (B, T, 1)
        return hidden.masked_fill(padding, float("-inf")).amax(dim=1)
    last = encoded["attention_mask"].sum(dim=1) - 1
    return hidden[range(len(ids)), last]


def plain(text: str) -> str:
    """A request without case, marks at the ends of words, and line breaks."""
    return " ".join(_MARKS.sub("", text.casefold()).split())


def feature_sizes(backbone: Backbone) -> tuple[int, int]:
    """Widths ``d_v, d_t`` of the two halves of a feature."""
    return backbone.prompter.images.vision_width, backbone.model.config.text_config.hidden_size


def extract_features(
    backbone: Backbone,
    rows: list[dict[str, Any]],
    *,
    style: str = "max",
    text: str = "question",
    normalize: bool,
    batch_size: int,
    texts: Sequence[Sequence[str]] | None = None,
    generic: np.ndarray | None = None,
) -> np.ndarray:
    """Features ``(m, d_v + d_t)`` float32 of rows of the data artefact.

    The batches are divided among the processes; all of them return all features.
    Only the first image counts, as one thumbnail tile; a row without image has zeros for the
    image half.

    Args:
        texts: requests of each row, whose features follow each other; default, the first turn's
            question of each row alone.
        text: with ``style: max``, the question is encoded bare or as a ``chat`` turn.
        normalize: scale features to length 1; with ``style: meaning`` each half.
        generic: :func:`generic_features`, where they are known already.
    """
    import numpy as np
    import torch

    asked = texts or [[row["turns"][0]["question"]] for row in rows]
    every = [text for own in asked for text in own]
    vision_width, text_width = feature_sizes(backbone)

    def of_texts(part: Sequence[str]) -> np.ndarray:
        return text_features(backbone, part, style, text).cpu().numpy()

    with torch.inference_mode():
        vision = _in_batches(
            rows,
            batch_size,
            lambda part: _of_images(backbone, part, style),
            vision_width,
            backbone.prompter.thumbnail,
            backbone.workers,
        )
        if style == "max":
            said = _in_batches(every, batch_size, of_texts, text_width, length=len)
        else:
            beside = PROMPTS if generic is None else ()
            distinct = list(dict.fromkeys([*map(plain, every), *map(plain, beside)]))
            known = _in_batches(distinct, batch_size, of_texts, text_width, length=len)
            place = {request: i for i, request in enumerate(distinct)}
            if generic is None:
                generic = known[[place[plain(request)] for request in PROMPTS]]
            said = whitened(known[[place[plain(request)] for request in every]], generic)
    vision = np.repeat(vision, [len(own) for own in asked], axis=0)
    if style == "meaning" and normalize:
        return np.concatenate([_unit(vision), _unit(said)], axis=1)
    z = np.concatenate([vision, said], axis=1)
    return _unit(z) if normalize else z


def generic_features(backbone: Backbone, batch_size: int) -> np.ndarray:
    """Text features of requests in general ``(m, d_t)``, what ``style: meaning`` is relative to."""
    import torch

    def of_texts(part: Sequence[str]) -> np.ndarray:
        return text_features(backbone, part, "meaning").cpu().numpy()

    with torch.inference_mode():
        return _in_batches(PROMPTS, batch_size, of_texts, feature_sizes(backbone)[1], length=len)


def whitened(text: np.ndarray, generic: np.ndarray) -> np.ndarray:
    """Text features ``(n, d)`` in the coordinates in which generic ones ``(m, d)`` are centred and
    alike in all directions, up to shrinkage; float32."""
    import numpy as np

    centre = generic.mean(axis=0, dtype=np.float64)
    _, size, axes = np.linalg.svd(generic - centre, full_matrices=False)
    variance = size**2 / len(generic)
    floor = SHRINKAGE * variance.mean()
    moved = text - centre
    along = moved @ axes.T
    rest = (moved - along @ axes) / np.sqrt(floor)
    return (rest + (along / np.sqrt(variance + floor)) @ axes).astype(np.float32)


def _unit(z: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros stay zeros."""
    import numpy as np

    length = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(length > 0, length, 1)


def _of_images(backbone: Backbone, tiles: Sequence[Tensor | None], style: str) -> np.ndarray:
    """Of rows' thumbnails; zeros where there is none."""
    import numpy as np
    import torch

    found = np.zeros((len(tiles), feature_sizes(backbone)[0]), dtype=np.float32)
    seen = [i for i, tile in enumerate(tiles) if tile is not None]
    if seen:
        stacked = backbone.to_device({"pixel_values": torch.cat([tiles[i] for i in seen])})
        found[seen] = image_features(backbone, stacked["pixel_values"], style).cpu().numpy()
    return found


def _in_batches(
    items: Sequence[Any],
    size: int,
    features: Callable[[Sequence[Any]], np.ndarray],
    width: int,
    prepare: Callable[[Any], Any] | None = None,
    workers: int = 0,
    length: Callable[[Any], int] = lambda _: 1,
) -> np.ndarray:
    """Features of all items ``(n, width)``, whose batches are divided among the processes.

    Args:
        prepare: item -> what ``features`` takes of it, done by so many ``workers`` ahead.
        length: of an item; the longest come first, so that batches are padded little.
    """
    import numpy as np

    found = np.zeros((len(items), width), dtype=np.float32)
    order = sorted(range(len(items)), key=lambda i: -length(items[i]))
    parts = distributed.mine([order[i : i + size] for i in range(0, len(items), size)])

    def prepared(part: list[int]) -> list[Any]:
        return [prepare(items[i]) if prepare else items[i] for i in part]

    def of_part(made: Sequence[Any]) -> np.ndarray:
        return np.concatenate(in_parts(features, made, "features"))

    mine = [(part, of_part(made)) for part, made in ahead(parts, prepared, workers)]
    for done in distributed.gather(mine):
        for part, values in done:
            found[part] = values
    return found

"""Image and text features of samples (D-MoLE, Eqs. 6-7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.core.base import distributed

if TYPE_CHECKING:
    import numpy as np

    from stages.core.backbone.load import Backbone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def image_features(backbone: Backbone, pixel_values: Tensor) -> Tensor:
    """Max over tokens of the vision encoder's last hidden state of thumbnails, ``(B, d_v)``
    float32."""
    states = backbone.prompter.images.vision_states(backbone.model, pixel_values)
    return states.float().amax(dim=1)


def text_features(backbone: Backbone, questions: list[str]) -> Tensor:
    """Max over tokens of the language model's final-norm state of the bare text, ``(B, d_t)``."""
    tokenizer = backbone.prompter.tokenizer
    texts = {"input_ids": [backbone.prompter.plain_ids(question) for question in questions]}
    encoded = tokenizer.pad(texts, padding=True, padding_side="right", return_tensors="pt")
    encoded = {key: encoded[key].to(backbone.device) for key in ("input_ids", "attention_mask")}
    model = backbone.prompter.images.language_model(backbone.model)
    hidden = model(**encoded, use_cache=False).last_hidden_state
    padding = encoded["attention_mask"][..., None] == 0  # (B, T, 1)
    return hidden.float().masked_fill(padding, float("-inf")).amax(dim=1)


def feature_sizes(backbone: Backbone) -> tuple[int, int]:
    """Widths ``d_v, d_t`` of the two halves of a feature."""
    return backbone.prompter.images.vision_width, backbone.model.config.text_config.hidden_size


def extract_features(
    backbone: Backbone, rows: list[dict[str, Any]], *, normalize: bool, batch_size: int
) -> np.ndarray:
    """Features ``(n, d_v + d_t)`` float32 of rows of the data artefact.

    The batches are divided among the processes; all of them return all features.
    Only the first image counts, as one thumbnail tile; a row without image has zeros for the
    image half. The text is the first turn's question as the tokenizer encodes plain text.
    """
    import numpy as np
    import torch

    d_v, d_t = feature_sizes(backbone)
    z = np.zeros((len(rows), d_v + d_t), dtype=np.float32)
    parts = distributed.mine(
        [range(len(rows))[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    )
    with torch.inference_mode():
        for part in parts:
            tiles = {i: backbone.prompter.thumbnail(rows[i]) for i in part}
            seen = [i for i in part if tiles[i] is not None]
            if seen:
                stacked = backbone.to_device({"pixel_values": torch.cat([tiles[i] for i in seen])})
                vision = image_features(backbone, stacked["pixel_values"])
                z[seen, :d_v] = vision.cpu().numpy()
            text = text_features(backbone, [rows[i]["turns"][0]["question"] for i in part])
            z[list(part), d_v:] = text.cpu().numpy()
    for done in distributed.gather([(list(part), z[list(part)]) for part in parts]):
        for part, values in done:
            z[part] = values
    return z / np.linalg.norm(z, axis=1, keepdims=True) if normalize else z

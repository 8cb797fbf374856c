"""A backbone folder of a given configuration with random weights in bfloat16.

What it says means nothing; its shapes, its memory and its speed are those of the real one. Text is
one token per byte, since no vocabulary goes with a bare configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.architecture import empty_model, read_config
from stages.core.base.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 1 << 30


def write_random_backbone(source: Path, folder: Path, seed: int) -> None:
    """Write ``folder`` as a backbone of the configuration in ``source``; its parent's disk needs
    two bytes per weight, memory one shard.

    Raises:
        InputError: another family than InternVL, or a vocabulary too small for single bytes.
    """
    import torch

    from stages.tools.make_tiny_backbone import SPECIAL, make_tokenizer

    config, stored = read_config(source)
    if config.model_type != "internvl":
        raise InputError(
            f"{source}: random weights are made for InternVL alone; give the folder of a "
            f"{config.model_type} with its weights and tokenizer."
        )
    folder.mkdir(parents=True)
    text = config.get_text_config()
    if make_tokenizer(folder) > text.vocab_size:
        raise InputError(f"{source}: a vocabulary of {text.vocab_size} is too small for bytes.")
    config.image_token_id = SPECIAL.index("<IMG_CONTEXT>")
    text.bos_token_id = None
    text.eos_token_id = SPECIAL.index("<|im_end|>")
    text.pad_token_id = SPECIAL.index("<|endoftext|>")
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    _write(folder / "preprocessor_config.json", stored)
    _write_weights(folder, _weights(config, seed))


def _weights(config: Any, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Matrices normal with the usual deviation of 0.02, norms and scales one, biases zero."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, shape in ((n, p.shape) for n, p in empty_model(config).named_parameters()):
        value = torch.empty(shape, dtype=torch.bfloat16)
        if len(shape) > 1:
            value.normal_(0.0, 0.02, generator=generator)
        else:
            value.fill_(float(not name.endswith("bias")))
        yield name, value


def _write_weights(folder: Path, tensors: Iterator[tuple[str, Tensor]]) -> None:
    from safetensors.torch import save_file

    weight_map: dict[str, str] = {}
    shard: dict[str, Tensor] = {}
    size = total = number = 0

    def flush() -> None:
        file = f"model-{number:05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, file))
        shard.clear()

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > SHARD_BYTES:
            flush()
            number, size = number + 1, 0
        shard[name] = tensor
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write(folder / "model.safetensors.index.json", index)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")

"""Make a tiny InternVL with random weights: the backbone of the tests and of ``make tiny``.

Two vision blocks, two language blocks, a byte-level tokenizer. It knows nothing; it has every
part of a real backbone, in the same folder layout.

    cmit make-tiny-backbone --out results/backbones/tiny --seed 0
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(folder: Path) -> int:
    """Save a tokenizer with one token per byte plus the special ones; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>"],
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return len(vocabulary)


def make_tiny_backbone(folder: Path, seed: int) -> None:
    """Write the backbone folder; the same seed gives the same bytes."""
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration
    from transformers.utils import logging

    size = make_tokenizer(folder)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "image_size": [28, 28],
            "patch_size": [14, 14],
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "vocab_size": size,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": SPECIAL.index("<|im_end|>"),
            "pad_token_id": SPECIAL.index("<|endoftext|>"),
        },
        image_token_id=SPECIAL.index("<IMG_CONTEXT>"),
        image_seq_length=1,
        downsample_ratio=0.5,
    )
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    model = InternVLForConditionalGeneration(config)
    with torch.no_grad():  # at their default scale neither answers nor vision gradients differ
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3 if "embed" in name or "projector" in name else 0.15)
            elif "lambda" in name:
                parameter.fill_(1.0)
    model.save_pretrained(folder)
    settings = {
        "size": {"height": 28, "width": 28},
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(
        json.dumps(settings, sort_keys=True, indent=2) + "\n"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    args = parser.parse_args(argv)
    draft = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    make_tiny_backbone(draft, args.seed)
    shutil.rmtree(args.out, ignore_errors=True)
    draft.replace(args.out)


if __name__ == "__main__":
    cli.run(main)

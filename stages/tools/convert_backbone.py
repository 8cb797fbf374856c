"""Convert a published InternVL2 folder (remote-code layout) to the native one, offline.

Reads   SRC: config.json, model.safetensors (or its index and shards), tokenizer_config.json and
        tokenizer.model (or tokenizer.json); none of its Python files
Writes  DST: a folder that transformers loads natively: config.json, generation_config.json,
        model.safetensors (or index and shards), tokenizer files with the published chat template,
        preprocessor_config.json, conversion.json (hashes of the source files and of this code)
        and checksums.json (SHA-256 of all other files)

    cmit convert-backbone downloads/InternVL2-2B results/backbones/internvl2-2b

Weights keep their values and precision; they are read memory-mapped and written in pieces, so
that the memory needed does not grow with the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone import published_internvl as published
from stages.core.backbone.folder import weight_files
from stages.core.base import cli, provenance
from stages.core.base.errors import InputError
from stages.core.base.reading import read_object, reading

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 1 << 30
INDEX = "model.safetensors.index.json"
Shapes = dict[str, tuple[int, ...]]


def convert_backbone(src: Path, dst: Path, shard_bytes: int = SHARD_BYTES) -> dict[str, int]:
    """Build the native folder ``dst``; everything is checked before the first tensor is written.

    Returns:
        number of tensors read and written.

    Raises:
        InputError: ``dst`` exists, a file of ``src`` is missing or damaged, the model is another
            one than InternVL2 with InternLM2, a tensor is missing, unknown or of another shape.
    """
    if dst.exists():
        raise InputError(f"{dst}: exists already; move it away or name another folder.")
    content = _read_json(src / "config.json")
    config = published.native_config(content, str(src / "config.json"))
    shards = _shards(src)
    names = published.target_names(config)
    _check_tensors(_headers(shards), names, _native_shapes(config))
    draft = dst.with_name(f".{dst.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        tokenizer = _write_tokenizer(src, draft, config.text_config.vocab_size)
        _write_configs(draft, config, tokenizer, content["force_image_size"], shards)
        grouping = published.Grouping(
            config.text_config.num_attention_heads, config.text_config.num_key_value_heads
        )
        written = _write_weights(draft, _converted(shards, names, grouping), shard_bytes)
        counts = {"tensors_read": len(names), "tensors_written": written}
        _write_json(draft / "conversion.json", _record(src, shards, counts))
        sums = {path.name: provenance.file_hash(path) for path in sorted(draft.iterdir())}
        _write_json(draft / "checksums.json", sums)
        draft.replace(dst)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return counts


# --- the source -----------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; SRC is a folder as published.")
    return read_object(path, "Get it again.")


def _shards(src: Path) -> list[Path]:
    """The weight files of a folder, in name order."""
    listed = list(weight_files(src))
    missing = [name for name in listed if not (src / name).is_file()]
    if missing:
        raise InputError(f"{src}: missing {', '.join(missing)} (only safetensors are read).")
    return [src / name for name in listed]


def _headers(shards: list[Path]) -> Shapes:
    """Shape of every tensor, from the files' headers alone."""
    from safetensors import safe_open

    shapes: Shapes = {}
    for shard in shards:
        with (
            reading(shard, "safetensors", "Get it again."),
            safe_open(shard, framework="pt") as handle,
        ):
            for name in handle.keys():  # noqa: SIM118 - the handle is no mapping
                if name in shapes:
                    raise InputError(f"{shard}: tensor {name} is in an earlier shard too.")
                shapes[name] = tuple(handle.get_slice(name).get_shape())
    return shapes


def _native_shapes(config: Any) -> Shapes:
    """Shape of every weight of the native model, which is never allocated."""
    import torch
    from transformers import InternVLForConditionalGeneration

    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _check_tensors(found: Shapes, names: dict[str, tuple[str, ...]], native: Shapes) -> None:
    """Every published tensor is there once and fills its native tensors; none is left over."""
    unset = sorted(set(native) ^ {target for targets in names.values() for target in targets})
    if unset:
        raise InputError(f"the installed transformers names weights otherwise: {unset[0]}.")
    for name in sorted(found.keys() - names.keys()):
        near = "".join(f" Did you mean {n}?" for n in get_close_matches(name, names, n=1))
        raise InputError(f"unknown tensor {name}: the published layout has none such.{near}")
    missing = sorted(names.keys() - found.keys())
    if missing:
        raise InputError(f"missing tensors ({len(missing)}): {', '.join(missing[:5])}.")
    for name, targets in names.items():
        first, *rest = (native[target] for target in targets)
        wanted = (first[0] + sum(shape[0] for shape in rest), *first[1:])
        if found[name] != wanted:
            raise InputError(f"tensor {name}: shape {found[name]}, config.json implies {wanted}.")


def _converted(
    shards: list[Path], names: dict[str, tuple[str, ...]], grouping: published.Grouping
) -> Iterator[tuple[str, Tensor]]:
    """Native names and tensors, one published tensor at a time."""
    from safetensors import safe_open

    for shard in shards:
        with safe_open(shard, framework="pt") as handle:
            for name in sorted(handle.keys()):
                parts = published.split(name, handle.get_tensor(name), grouping)
                yield from zip(names[name], parts, strict=True)


# --- the result -----------------------------------------------------------------------------


def _write_weights(folder: Path, tensors: Iterator[tuple[str, Tensor]], shard_bytes: int) -> int:
    """Write shards of at most ``shard_bytes`` (or one tensor); returns the number of tensors."""
    from safetensors.torch import save_file

    files: list[tuple[Path, list[str]]] = []
    batch: dict[str, Tensor] = {}
    filled = total = 0

    def flush() -> None:
        path = folder / f"part-{len(files)}.safetensors"
        save_file(batch, path, metadata={"format": "pt"})
        files.append((path, sorted(batch)))
        batch.clear()

    for name, tensor in tensors:
        if batch and filled + tensor.nbytes > shard_bytes:
            flush()
            filled = 0
        batch[name] = tensor
        filled, total = filled + tensor.nbytes, total + tensor.nbytes
    flush()
    if len(files) == 1:
        files[0][0].replace(folder / "model.safetensors")
        return len(files[0][1])
    weight_map = {}
    for number, (path, names) in enumerate(files, start=1):
        final = f"model-{number:05d}-of-{len(files):05d}.safetensors"
        path.replace(folder / final)
        weight_map |= dict.fromkeys(names, final)
    _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return len(weight_map)


def _write_tokenizer(src: Path, folder: Path, rows: int) -> Any:
    """Save the fast tokenizer with the published chat template; a turn's end is its EOS."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    where = src / "tokenizer_config.json"
    settings = _read_json(where)
    core = _core_tokenizer(src, settings, where)
    if core.get_vocab_size() > rows:
        raise InputError(f"{src}: {core.get_vocab_size()} tokens, but only {rows} embeddings.")
    roles = {
        role: _token_text(settings, role, where) for role in ("bos_token", "pad_token", "unk_token")
    }
    bos = roles["bos_token"]
    core.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        **roles,
        eos_token="<|im_end|>",
        chat_template=published.CHAT_TEMPLATE,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _core_tokenizer(src: Path, settings: dict[str, Any], where: Path) -> Any:
    """The tokenizer proper, every added token at the id that the settings give it."""
    from tokenizers import AddedToken, Tokenizer

    from stages.core.backbone import sentencepiece_bpe

    added = {
        int(index): AddedToken(**token)
        for index, token in settings.get("added_tokens_decoder", {}).items()
    }
    if (src / "tokenizer.json").is_file():
        core = Tokenizer.from_file(str(src / "tokenizer.json"))
    elif (src / "tokenizer.model").is_file():
        core = sentencepiece_bpe.build(src / "tokenizer.model", added)
    else:
        raise InputError(f"{src}: missing tokenizer.model.")
    for index, token in added.items():
        found = core.token_to_id(token.content)
        if found != index:
            raise InputError(
                f"{where}: {token.content} has id {index}, the tokenizer's is {found}."
            )
    absent = [mark for mark in published.MARKS if core.token_to_id(mark) is None]
    if absent:
        raise InputError(f"{where}: added_tokens_decoder lacks {', '.join(absent)}.")
    return core


def _token_text(settings: dict[str, Any], role: str, where: Path) -> str:
    token = settings.get(role)
    if token is None:
        raise InputError(f"{where}: {role} is missing.")
    return token["content"] if isinstance(token, dict) else token


def _write_configs(
    folder: Path, config: Any, tokenizer: Any, image_size: int, shards: list[Path]
) -> None:
    from safetensors import safe_open
    from transformers import GenerationConfig

    config.image_token_id = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    roles = ("bos_token_id", "eos_token_id", "pad_token_id")
    for role in roles:
        setattr(config.text_config, role, getattr(tokenizer, role))
    with safe_open(shards[0], framework="pt") as handle:
        config.dtype = handle.get_tensor(next(iter(handle.keys()))).dtype
    config.save_pretrained(folder)
    ids = {role: getattr(tokenizer, role) for role in roles}
    GenerationConfig(**ids).save_pretrained(folder)
    preprocessing = {
        "size": {"height": image_size, "width": image_size},
        "image_mean": published.IMAGENET_MEAN,
        "image_std": published.IMAGENET_STD,
    }
    _write_json(folder / "preprocessor_config.json", preprocessing)


def _record(src: Path, shards: list[Path], counts: dict[str, int]) -> dict[str, Any]:
    names = ("config.json", "tokenizer_config.json", "tokenizer.json", "tokenizer.model")
    files = [src / name for name in names if (src / name).is_file()] + shards
    source = {path.name: provenance.file_hash(path) for path in files}
    code = provenance.source_hash("stages.tools.convert_backbone")
    return {"source": source, "converter": code, **counts}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("src", metavar="SRC", type=Path, help="local folder as published")
    parser.add_argument("dst", metavar="DST", type=Path, help="the folder to build")
    args = parser.parse_args(argv)
    counts = convert_backbone(args.src, args.dst)
    print(f"{args.dst}: {counts['tensors_read']} tensors read, {counts['tensors_written']} written")


if __name__ == "__main__":
    cli.run(main)

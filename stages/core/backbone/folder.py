"""What a backbone folder must hold, as far as names and headers tell; nothing here loads torch.

Whether every weight fits its place is known when the model is loaded (``load.load_backbone``);
what a header shows already, such as a tower that is missing, is told before the first job.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.core.base import reading
from stages.core.base.errors import InputError
from stages.core.base.reading import Fields

AGAIN_ADVICE = "Get it again."
NEEDED = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
WRAPPERS = {  # prefixes that training tools leave in names, each with what takes it off
    "_orig_mod.": "saved from a compiled model: save model._orig_mod instead",
    "base_model.model.": "saved from a PEFT model: merge the adapter (merge_and_unload) and save",
    "module.": "saved from a wrapped model: save model.module instead",
    "_fsdp_wrapped_module.": "saved from a sharded model: gather the full state and save",
}
VISION = ("vision", "visual", "vit.", "image_encoder")
HEADER_LIMIT = 100_000_000  # bytes; as in the safetensors format


def check_folder(path: Path) -> None:
    """A backbone folder has its configuration, tokenizer, preprocessing and safetensors weights,
    whose headers name both towers.

    Raises:
        InputError: the folder or one of its files is missing or damaged, or its weights are those
            of a wrapped model.
    """
    if not path.is_dir():
        raise InputError(
            f"backbone {path}: no such folder. `make demo` assembles the pocket backbone; "
            "for another one set backbone.path to a local folder."
        )
    config = path / "config.json"
    if config.is_file() and read_object(config).get("model_type") == "internvl_chat":
        raise InputError(
            f"backbone {path}: has the published layout, whose code is never run. Convert it once: "
            f"python -m stages.tools.convert_backbone {path} {path}-native"
        )
    missing = [name for name in NEEDED if not (path / name).is_file()]
    weights = weight_files(path)
    missing += [name for name in weights if not (path / name).is_file()]
    if missing:
        raise InputError(f"backbone {path}: missing {', '.join(missing)}.")
    for name in NEEDED:
        read_object(path / name)
    _check_names(path, {name: read_header(path / name) for name in weights}, weights)


def weight_files(path: Path) -> dict[str, set[str]]:
    """The folder's weight files, each with the tensors that its index places there.

    Raises:
        InputError: an index that does not name the file of each tensor.
    """
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return {"model.safetensors": set()}
    placed = read_object(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(n, str) for n in placed.values()):
        raise InputError(f"{index}: weight_map: expected the file of each tensor; get it again.")
    files: dict[str, set[str]] = {name: set() for name in sorted(set(placed.values()))}
    for tensor, name in placed.items():
        files[name].add(tensor)
    return files


def read_object(path: Path) -> Fields:
    """A JSON file of the folder that holds an object.

    Raises:
        InputError: anything else.
    """
    return reading.read_object(path, AGAIN_ADVICE)


def read_header(path: Path) -> dict[str, Any]:
    """The entries of a safetensors file by tensor, from its first bytes alone.

    Raises:
        InputError: not a safetensors file, or one that is cut off.
    """
    with reading.reading(path, "safetensors", AGAIN_ADVICE), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size) if 0 < size < HEADER_LIMIT else b"")
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        needed = 8 + size + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if path.stat().st_size < needed:
        raise InputError(
            f"{path}: cut off at {path.stat().st_size} of {needed} bytes. {AGAIN_ADVICE}"
        )
    return entries


def _check_names(path: Path, headers: dict[str, dict], placed: dict[str, set[str]]) -> None:
    names = {name for header in headers.values() for name in header}
    for file, tensors in placed.items():
        if lacking := sorted(tensors - headers[file].keys()):
            raise InputError(
                f"{path / file}: lacks {_first(lacking)}, which the index places there. "
                "Get it again."
            )
    for prefix, advice in WRAPPERS.items():
        if wrapped := sorted(name for name in names if name.startswith(prefix)):
            raise InputError(
                f"backbone {path}: {len(wrapped)} of {len(names)} tensors are named {prefix}..., "
                f"first {wrapped[0]}: {advice}."
            )
    seen = {any(word in name for word in VISION) for name in names}
    for tower, there in (("vision encoder", True), ("language model", False)):
        if there not in seen:
            raise InputError(
                f"backbone {path}: no weight of the {tower} among {len(names)} tensors: "
                f"{_first(sorted(names))}. Only a whole image-text-to-text model can be run."
            )


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{', '.join(names[:count])}{more}"

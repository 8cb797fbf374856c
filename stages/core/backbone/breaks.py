"""Control tokens that a user's text spells: how they are told, broken and encoded as words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from stages.core.backbone.families.base import Family

BREAK = "\ufdd0"  # a code point that is no character; where a text is tokenised in two pieces
NO_PREFIX = {"prepend": "", "prepend_scheme": "never", "add_prefix_space": False}
_MARK = re.compile(r"<[^<>\s]+>")


def control_tokens(tokenizer: Any, images: Family) -> re.Pattern[str]:
    """What must not come from a user's text: special tokens, and the family's image marks."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {str(token.content) for token in added if token.special}
    marks = {images.token, *_MARK.findall(images.before + images.after)}
    words = sorted((w for w in special | marks if len(w.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


def broken(text: str, control: re.Pattern[str]) -> str:
    """A user's text with a break inside whatever would be a control token."""
    text = text.replace(BREAK, "")
    return control.sub(lambda found: BREAK.join((found[0][0], found[0][1:])), text)


def without_prefix(tokenizer: Any) -> Tokenizer:
    """The tokenizer as it goes on within a text: it puts no blank of its own in front."""
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for step in ("normalizer", "pre_tokenizer"):
        state[step] = _without_prefix(state[step])
    return Tokenizer.from_str(json.dumps(state))


def _without_prefix(state: Any) -> Any:
    """The steps of a normaliser or pre-tokenizer, with what adds a blank in front undone."""
    if isinstance(state, list):
        return [_without_prefix(step) for step in state]
    if not isinstance(state, dict):
        return state
    off = {key: value for key, value in NO_PREFIX.items() if key in state}
    return {key: _without_prefix(value) for key, value in state.items()} | off

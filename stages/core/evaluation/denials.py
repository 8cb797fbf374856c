"""Whether a sentence denies what it mentions, in English, Chinese, German or French.

Mentions are masked before, each character as :data:`MASK`, so that an option's own words ("not a
dog") deny nothing.
"""

import re
from collections.abc import Sequence

MASK = "\0"

# What neither denies nor ends a clause: certainty, and the commas of a list.
_FILLING = re.compile(
    r"""
    \b(?:no|without(?:\ an?y?)?)\ (?:doubt|question)\b | \bnot\ (?:only|just|merely)\b
    | \bnothing\ but\b | \bsans\ (?:aucun\ )?doute\b | 不错 | 没错
    | (?<=\0)[\s)"'*]*,(?=[\s("'*]*(?:(?:and|an?|the|option|und|et)\s+)*\0)
    | ,(?=\s*(?:n?or|noch|oder|ni|ou|then|that|dass|que)\b)
    | \?(?=\s*(?:no|nein|non)\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BREAK = re.compile(
    r"""
    [,;!?。\n—–] | \.(?!\d) | \s-\s | (?<=\0): | 而是 | 而选
    | (?<!thing\ )(?<!all\ )\bbut\b
    | \b(?:so|hence|thus|therefore|however|sondern|aber|mais|donc)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_BEFORE = re.compile(
    r"""
    \b(?:not|nor|none|never|neither|cannot|hardly|barely|doubt|lack\w*|absence
        | no(?!\s*[-,:]) | without | except | excluding | unlike | less\ likely | fails?\ to
        | (?:rather|other)\ than | (?:instead|free)\ of | (?:(?:any|every)thing|all)\ but
        | (?:is|are|was|were|do|does|did|ca|could|would)nt
        | (?:wrong|incorrect|unlikely|impossible)(?!\ and)
        | rul(?:e|es|ed|ing)\ out | (?:eliminat|exclud)\w+
        | nicht | kein\w* | weder | noch | nie | ohne | statt | außer
        | pas | ni | sans | sauf | jamais | aucune? | plutôt\ que)\b
    | n't\b | [不没] | 并非 | 绝非 | 除了 | 排除
    """,
    re.IGNORECASE | re.VERBOSE,
)
_AFTER = re.compile(
    r"""
    (?:[\s,()]*(?:and|n?or|und|oder|et|ou|[和或与])[\s(]*\0+){0,9}  # "both A and B are wrong"
    (?: \s+(?:no|nein|non)\b | ["')*.\]]*\s*
    (?: (?:is|are|was|were|seems?|looks?|ist|sind|est|sont|\w+\ be)\s+
        (?:(?:the|an?|also|es|\w+ly)\s+)*
        (?:not|wrong|incorrect|false|unlikely|less\ likely|impossible|absent|missing
          |nicht|falsch|faux|fausse)\b
      | (?:can\ be|is|was)\ (?:ruled\ out|excluded|eliminated)\b
      | (?:can|could|do|does|did|should|would|will|has|have)(?:n'?t|\ not)\b
      | (?:is|are|was|were)n'?t\b | (?:can't|cannot|won't|n'est\ pas)\b
      | [都是]?(?:不(?!选)|错) ))
    """,
    re.IGNORECASE | re.VERBOSE,
)


def denied(masked: str, spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Of each mention (start, end): whether its clause denies it, before or after it."""
    text = _FILLING.sub(lambda found: " " * len(found[0]), masked)
    breaks = [found.span() for found in _BREAK.finditer(text)]
    found = []
    for start, end in spans:
        first = max((stop for _, stop in breaks if stop <= start), default=0)
        last = min((at for at, _ in breaks if at >= end), default=len(text))
        before, after = text[first:start], text[end:last]
        found.append(bool(_BEFORE.search(before) or _AFTER.match(after)))
    return found

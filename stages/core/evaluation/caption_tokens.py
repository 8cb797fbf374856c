r"""Penn-Treebank-style tokens of captions, as the CIDEr of published tables counts them.

The published numbers tokenise with Stanford's PTBTokenizer (CoreNLP 3.4.1, a Java program), lower
case the tokens and drop a list of punctuation tokens. :func:`tokenize` gives the same tokens
without Java. Like that lexer it is a longest-match scanner: at each position every rule is tried,
the longest match wins (text that a rule only looks ahead at counts), and the earlier rule wins a
tie. Oddities of the published pipeline are kept, because CIDEr counts them: brackets become
``-lrb-`` and the like, which the list of dropped tokens misses in lower case, and runs such as
``!!!`` stay.

Outside captions the two can part ways: URLs, telephone numbers, markup, rare scripts.
"""

import re
from functools import lru_cache

# What the published pipeline drops after lower-casing, hence "-LRB-" in vain.
DROPPED = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"]
    + [".", "?", "!", ",", ":", "-", "--", "...", ";"]
)


def _any_of(words: str) -> str:
    return "(?:" + "|".join(words.split()) + ")"


_APOSTROPHE = "['’`‘]"
_LETTER = r"[^\W\d_¹²³½¼¾⅓⅔]"
_ALNUM = r"[^\W_¹²³½¼¾⅓⅔]"
_WORD_ENDS = rf"(?!{_LETTER})"
_WORD = rf"{_LETTER}{_ALNUM}*(?:[.!?]{_LETTER}{_ALNUM}*)*"
_NUMBER = r"[-+]?(?:\d+(?:[.:,]\d+)*|(?:[.:,]\d+)+)"
_CLITIC = r"['’](?:ll|re|ve|m|s|d)"
_ACRONYM = r"[a-z](?:\.[a-z])+"
_COMPOUND_PART = rf"(?:[dol]{_APOSTROPHE}[a-z0-9])?{_ALNUM}+"
_SLASHED_PART = r"[a-z0-9]+(?:-[a-z]+){0,2}"
_ADDRESS_LETTER = r"""[^\s"`'<>|.!?,(){}\[\]]"""
_ADDRESS_TAIL = r"""[^\s<>|()]+[^\s<>|.!?,;:&"'()-]"""

# Words whose final period belongs to them: anywhere, and only in front of a number.
_ABBREVIATION = _any_of(
    r"""
    mr mrs ms drs? profs? sens? reps? attys? lt col gen messrs govs? adm rev maj sgt cpl pvt capt
    st ste ave pres lieut hon brig comdr cmdr pfc spc supts? det mt ft adj adv asst assoc ens insp
    mlle mme msgr sfc jan feb mar apr jun jul aug sept? oct nov dec mon tues? wed thu thurs fri ala
    ariz calif colo conn ct dak fla ga ind kans? ky md mich minn mo mont neb nev okla penn tenn va
    vt wisc? wyo inc cos? corp ltd plc rt bancorp bhd assn univ intl sys tel est ext sq jr sr bros
    esq etc al seq bldg vs invt elec natl mft mfg dept blvd rd viz exhs? wm jos cie cf ed\.d ph\.d
    [a-z]
    """
)
_NUMBERED = _any_of("ca figs? prop nos? nrs? arts? pp? op")

# After these a lone letter's period ends the sentence: "the letter A. It is" against "A. Smith".
_OPENING = _any_of(
    """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last
    Many More Now Once One Other Our She Since So Some Such That The Their Then There These They
    This We What When While Yet You
    """
)

# The first group is the token; what a pattern matches beyond it is only looked at. Case is
# ignored except inside (?-i:...). The order decides ties of length.
_PATTERNS = (
    r"(can)not|('t)was",
    rf"(gon|wan)na{_WORD_ENDS}|(got)ta{_WORD_ENDS}|([lg][ei]m)me{_WORD_ENDS}|('t)is{_WORD_ENDS}",
    r"(</?[a-z][^<>]*>|&#\d+;)",  # markup
    rf"({_WORD}){_CLITIC}",  # dog|'s
    r"([a-z]*[a-mo-z])n['’]t",  # is|n't
    rf"({_WORD})",
    rf"(y['’]){_WORD}",  # y'|all
    rf"((?-i:[A-HJ-XZn]){_APOSTROPHE}{_LETTER}{{2,}})",  # O'Brien
    rf"({_LETTER}*[aeiouy]{_APOSTROPHE}[aeiou]{_LETTER}*)",  # ma'am
    rf"(['’](?:n['’]|n{_WORD_ENDS}|em|till?|cause|[2-9]0s))",  # rock 'n' roll
    r"((?:[ldj]|dunkin|somethin|ol)['’])",
    r"(nor'easter|c'mon|s'mores|ev'ry|li'l|nat'l|cap'n)",
    rf"(https?://{_ADDRESS_TAIL})",
    rf"(www\.(?:{_ADDRESS_LETTER}+\.)+[a-z]{{2,4}}(?:/{_ADDRESS_TAIL})?)",
    rf"((?:(?:(?![:/$]){_ADDRESS_LETTER})+\.)+(?:com|net|org|edu){_WORD_ENDS}(?:/{_ADDRESS_TAIL})?)",
    r"([a-z0-9][^\s\"<>|(){}]*@(?:[^\s\"<>|(){}.]+\.)*[^\s\"<>|(){}\[\].,;:]+)",  # e-mail
    r"(@[a-z_][a-z0-9_]*|#[a-z]+)",
    rf"({_CLITIC}){_WORD_ENDS}",
    rf"(n['’]t){_WORD_ENDS}",
    r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})",  # dates
    rf"({_NUMBER})",
    r"((?:\d{1,4}-)?\d{1,4}/\d{1,4}|['’]\d\d(?=\s))",  # fractions, '05
    rf"({_COMPOUND_PART}(?:[-_]{_COMPOUND_PART})*)",  # t-shirt
    rf"((?:{_WORD}|{_COMPOUND_PART}(?:[-_]{_COMPOUND_PART})*)\.)[,;:]",  # "cat.," keeps its stop
    r"((?-i:[A-Z]+(?:[+&][A-Z]+)+)\.)[,;:]",
    rf"({_ALNUM}(?:{_ALNUM}|[.,])*(?:-(?:{_ACRONYM}\.|{_ALNUM}+))+)",  # U.S.-based
    r"((?-i:[A-Z]+(?:[+&][A-Z]+)+))",  # AT&T
    rf"({_SLASHED_PART}(?:/{_SLASHED_PART}){{1,2}})",  # black/white
    rf"((?:{_ACRONYM}|{_ABBREVIATION})\.)",
    rf"({_NUMBERED}\.)\s*\d",
    rf"([a-z])\.\s+(?-i:{_OPENING})(?!\w)",
    rf"((?:[a-z0-9]+\.)+{_any_of('[cx] cpp gif html? jpe?g mov mp[34] pdf png txt')}){_WORD_ENDS}",
    r"((?-i:[A-Z]*)\$|c\+\+|c#|f#)",
    r"([<>]?[:;=](?-i:[-o*']?[()DPdpO\\{@|\[\]])(?![a-z0-9]))",  # smileys
    r"([-^x=~<>']_[-^x=~<>'])",
    r"(-{5,}|[!?]+|\*+|_+|@+|#+|<<|>>|''|``|\S)",
)
_RULES = [re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS]

_SPELT = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "£": "#", "€": "$", "¤": "$", "¢": "cents",
    "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "‘": "`", "“": "``", "”": "''", '"': "''", "«": "``", "»": "''", "‹": "`", "›": "'",
    "–": "--", "—": "--", "…": "...",
}  # fmt: skip
_SPELLING = re.compile("|".join(map(re.escape, _SPELT)))
_CURLY = re.compile(rf"’|{_CLITIC}|n’t", re.IGNORECASE)
_INVISIBLE = re.compile("[\u2028\u2029\u200b\ufe0e\ufe0f\U00010000-\U0010ffff]")
_ENTITIES = {
    "amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "mdash": "—",
    "ndash": "–",
}  # fmt: skip
_ENTITY = re.compile(rf"&({'|'.join(_ENTITIES)});", re.IGNORECASE)


def _longest(text: str, start: int) -> str:
    """The token at ``start``, where there is no white space."""
    best, reach = "", start
    for rule in _RULES:
        found = rule.match(text, start)
        if found and found.end() > reach:
            best, reach = found[found.lastindex or 0], found.end()
    return best


def _spell(token: str) -> str:
    """The treebank's spelling: straight quotes, named brackets, ASCII fractions, lower case."""
    if _CURLY.fullmatch(token):
        token = token.replace("’", "'")
    return _SPELLING.sub(lambda found: _SPELT[found[0]], token).lower()


def _scan(text: str) -> list[str]:
    tokens, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        token = _longest(text, position)
        tokens.append(_spell(token))
        position += len(token)
    return tokens


@lru_cache(maxsize=1 << 16)
def tokenize(caption: str) -> tuple[str, ...]:
    """The lower-cased tokens of a caption that CIDEr counts.

    ``"Two dogs' toys, aren't they?"`` gives ``two dogs toys are n't they``.
    """
    text = _ENTITY.sub(lambda found: _ENTITIES[found[1].lower()], caption)
    text = _INVISIBLE.sub(" ", text.replace("\xad", ""))
    return tuple(token for token in _scan(text) if token not in DROPPED)

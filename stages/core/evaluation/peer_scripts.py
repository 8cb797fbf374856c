"""Scores of answers as the scripts of other benchmarks compute them, oddities included.

Every rule takes an output without outer white space, as these scripts do, and the test row, and
gives a share of 0..1 and whether the output could be read. Gold answers have no outer white space.

coin_*     zackschen/CoIN, ETrain/Eval/LLaVA/CoIN/eval_*.py; gqa: with convert_gqa_for_eval.py
ucit_*     Ghy0501/HiDe-LLaVA, llava/eval/eval_deepseek_r1.py (its judge is switched off)
mllm_cl_*  bjzhb666/MLLM-CL, ETrain/Eval/LLaVA/CoIN/eval_*.py; math: without the judge
trigap_*   LAMDA-CL/Prism, backbone/shared/eval/eval_ucit.py
easycl_*   ECNU-ICALK/EasyCL, src/easycl/cl_workflow/cl_eval/adapters.py
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from string import ascii_uppercase
from typing import Any

from stages.core.evaluation.vqa_scripts import agreement, textvqa_processed

Row = Mapping[str, Any]
Rule = Callable[[str, Row], tuple[float, bool]]
UNANSWERABLE = "Unanswerable"  # an output with this word is wrong, whatever the gold answer
FORMULA = "LaTeX"  # in the questions of OCRBench's formulas, whose answer_type rows do not keep
SCIENCE = {"AI2D", "TQA", "VQA", "SciVerse"}  # images whose answers must be equal; others: MapQA


def _gold(row: Row) -> str:
    return row["references"][0]


def _equal(change: Callable[[str], str], refused: str | None = None) -> Rule:
    """Right where both texts are equal once changed; ``refused`` in an output makes it wrong."""

    def rule(text: str, row: Row) -> tuple[float, bool]:
        if refused is not None and refused in text:
            return 0.0, True
        return float(change(text) == change(_gold(row))), True

    return rule


def _gqa(text: str, row: Row) -> tuple[float, bool]:
    return float(text.rstrip(".").lower() == _gold(row)), True


def _imagenet(text: str, row: Row) -> tuple[float, bool]:
    """Either contains the other, as written; so an empty output is right."""
    return float(_gold(row) in text or text in _gold(row)), True


def _textvqa(text: str, row: Row) -> tuple[float, bool]:
    """The share of ten annotators; here "A" and an empty output are equal."""
    said = textvqa_processed(text)
    return agreement([said == textvqa_processed(given) for given in row["references"]]), True


def _scienceqa(text: str, row: Row) -> tuple[float, bool]:
    """A letter of A to E alone, before ". ", or the first character that stands alone."""
    options = "ABCDE"
    if len(text) >= 3 and text[0] in options and text[1:3] == ". ":
        said = text[0]
    else:
        alone = re.search(r"\b(\w)\b", text)
        said = text if text in [*options] else alone[1].upper() if alone else ""
    return float(said in [*options] and said == _gold(row)), said in [*options]


def _floats(text: str) -> list[float] | None:
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None


def _grounding(text: str, row: Row) -> tuple[float, bool]:
    """Overlap above one half of boxes as written; the output loses its first and last character."""
    plain = {ord(bracket): None for bracket in "[]"}
    said, right = _floats(text.translate(plain)[1:-1]), _floats(_gold(row).translate(plain))
    if said is None or right is None:
        return 0.0, False
    (a1, b1, a2, b2), (x1, y1, x2, y2) = said, right
    shared = max(0, min(a2, x2) - max(a1, x1)) * max(0, min(b2, y2) - max(b1, y1))
    union = (a2 - a1) * (b2 - b1) + (x2 - x1) * (y2 - y1) - shared
    return float(union > 0 and shared / union > 0.5), True


def _ai2d(text: str, row: Row) -> tuple[float, bool]:
    """Of several gold words, contained; one word beside a space, full stop or comma, or alone."""
    said, gold = text.lower(), _gold(row).lower()
    if UNANSWERABLE in text:
        return 0.0, True
    if " " in gold:
        return float(gold in said), True
    gold = gold.replace(".", "")
    if " " in said:
        beside = (f" {gold}", f"{gold} ", f"{gold}.", f"{gold},")
        return float(any(form in said for form in beside)), True
    return float(gold in said), True


def _pvqa(text: str, row: Row) -> tuple[float, bool]:
    return float(UNANSWERABLE not in text and _gold(row).lower() in text.lower()), True


def _sci(text: str, row: Row) -> tuple[float, bool]:
    """Equal; on maps contained, and of states the share that a list without spaces names."""
    said, gold = text.lower(), _gold(row).lower()
    if UNANSWERABLE in text:
        return 0.0, True
    name = PurePosixPath(row["images"][0]["path"]).name
    if name.partition("_")[0] in SCIENCE:
        return float(said == gold), True
    if "Which states" in row["turns"][-1]["question"]:
        states, listed = gold.split(","), said.split(",")
        return sum(state in listed for state in states) / len(states), True
    return float(gold in said), True


def _finvis(text: str, row: Row) -> tuple[float, bool]:
    said = text.lower().replace(" ", "").replace(".", "")
    return float(UNANSWERABLE not in text and said == _gold(row).lower()), True


def _ocr(text: str, row: Row) -> tuple[float, bool]:
    """Any gold answer is contained; in formulas without spaces and with their case."""

    def plain(answer: str) -> str:
        answer = answer.strip().replace("\n", "")
        formula = FORMULA in row["turns"][-1]["question"]
        return answer.replace(" ", "") if formula else answer.lower()

    return float(any(plain(gold) in plain(text) for gold in row["references"])), True


def _sat(text: str, row: Row) -> tuple[float, bool]:
    def plain(answer: str) -> str:
        return re.sub(r"[ \n.]", "", answer.lower().strip())

    return float(plain(_gold(row)) in plain(text)), True


def _math(text: str, row: Row) -> tuple[float, bool]:
    """What MathVista's script reads without its judge: one option, or a bare number.

    The phrases by which it tells a refusal are left out.
    """
    gold = _gold(row)
    if row["choices"]:
        said = _inferred(text, row["choices"])
        letters = ascii_uppercase[: len(row["choices"])]
        right = gold if gold in [*letters] else letters[row["choices"].index(gold)]
        return float(said == right), said is not None
    number = int if re.fullmatch(r"-?\d+", gold) else float
    try:
        return float(number(text) == number(gold)), True
    except ValueError:
        return 0.0, False


def _inferred(text: str, choices: list[str]) -> str | None:
    """The one letter among the words, else the one option whose text is contained."""
    letters = ascii_uppercase[: len(choices)]
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", text).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1:
        return named[0]
    if not named and "Z" in words:
        return None
    told = [x for x, c in zip(letters, choices, strict=True) if c.lower() in text.lower()]
    return told[0] if len(told) == 1 else None


def _anls(text: str, row: Row) -> tuple[float, bool]:
    """One minus the edit distance over the longer length, without case; no least value."""
    return max(_similarity(text.lower(), gold.lower()) for gold in row["references"]), True


def _similarity(a: str, b: str) -> float:
    if not a or not b:
        return float(a == b)
    previous = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        current = [i]
        for j, other in enumerate(b, start=1):
            changed = previous[j - 1] + (one != other)
            current.append(min(current[-1] + 1, previous[j] + 1, changed))
        previous = current
    return 1.0 - previous[-1] / max(len(a), len(b))


def _easycl(text: str, row: Row) -> tuple[float, bool]:
    """The first line equals the gold answer without case, punctuation and tags."""
    return float(_bare(text.partition("\n")[0]) == _bare(_gold(row))), True


def _bare(answer: str) -> str:
    answer = re.sub(r"\s+", " ", answer.strip())
    answer = "".join(character for character in answer if character.isprintable())
    answer = re.sub(r"[.,!?;:'\"`()\[\]{}]", "", answer)
    return re.sub(r"<[^>]+>", "", re.sub(r"[-_]", " ", answer).lower()).strip()


RULES: dict[str, Rule] = {
    "coin_accuracy": _equal(str.upper),
    "coin_gqa": _gqa,
    "coin_grounding": _grounding,
    "coin_imagenet": _imagenet,
    "coin_ocrvqa": _equal(str.lower, refused=UNANSWERABLE),
    "coin_scienceqa": _scienceqa,
    "coin_textvqa": _textvqa,
    "ucit_accuracy": _equal(str.upper),
    "trigap_accuracy": _equal(str.upper),
    "trigap_anls": _anls,
    "easycl_accuracy": _easycl,
    "mllm_cl_ai2d": _ai2d,
    "mllm_cl_finvis": _finvis,
    "mllm_cl_math": _math,
    "mllm_cl_ocr": _ocr,
    "mllm_cl_pvqa": _pvqa,
    "mllm_cl_sat": _sat,
    "mllm_cl_sci": _sci,
}

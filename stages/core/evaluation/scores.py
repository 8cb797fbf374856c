"""Scores of single answers by task metric, and their mean with a bootstrap interval.

A scorer is made once per task from its test rows and then scores any (sample, text), so that an
answer shared by several steps or methods is scored once. Scores are percentages; CIDEr times 100
may exceed 100.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any

import numpy as np

from stages.core.base.errors import InputError, unknown
from stages.core.evaluation import answers, choices, peer_scripts, vqa_scripts
from stages.core.evaluation.captions import Cider

Row = Mapping[str, Any]  # of the data artefact: turns, references, choices, box; see columns()
Scorer = Callable[[str, str], tuple[float, bool]]  # (sample_id, text) -> (score, parsed)
Metric = str | Mapping[str, Any]  # as a manifest has it: a name, or a name with its options

ANNOTATORS = 10  # of a question of VQA, VizWiz or TextVQA; the scripts are defined on them


@dataclass(frozen=True)
class Score:
    """Mean of the samples' scores, how many there are, how many had no readable answer, and the
    ends of the 95 % interval of the mean."""

    value: float
    n: int
    n_unparsed: int
    low: float
    high: float


def _accuracy(rows: Mapping[str, Row]) -> Scorer:
    """Open answers with one or a few gold answers: any match after normalisation."""
    return lambda sample, text: (
        100.0 * answers.exact_match(text, rows[sample]["references"]),
        True,
    )


def _exact(rows: Mapping[str, Row]) -> Scorer:
    """Equal as written but for case and outer white space, as CoIN-like evaluations compare."""

    def score(sample: str, text: str) -> tuple[float, bool]:
        said = text.strip().upper()
        return 100.0 * any(said == a.strip().upper() for a in rows[sample]["references"]), True

    return score


def _annotated(rows: Mapping[str, Row], agreement: Callable[[str, list[str]], float]) -> Scorer:
    """Open answers with ten annotators each."""
    _check_annotators(rows)
    return lambda sample, text: (100.0 * agreement(text, rows[sample]["references"]), True)


def _check_annotators(rows: Mapping[str, Row]) -> None:
    for sample, row in rows.items():
        if len(row["references"]) != ANNOTATORS:
            raise InputError(
                f"sample {sample!r}: this metric needs {ANNOTATORS} annotators' answers, "
                f"found {len(row['references'])}; use metric accuracy for a few gold answers."
            )


def _as_published(rows: Mapping[str, Row], name: str) -> Scorer:
    """The rule of another benchmark's script, see peer_scripts.py."""
    rule = peer_scripts.RULES[name]
    if name == "coin_textvqa":
        _check_annotators(rows)
    if name == "mllm_cl_sci" and not all(row.get("images") for row in rows.values()):
        raise InputError(f"metric {name}: needs the rows with the names of their images.")

    def score(sample: str, text: str) -> tuple[float, bool]:
        share, parsed = rule(text.strip(), rows[sample])
        return 100.0 * share, parsed

    return score


def _target(row: Row) -> str | None:
    """What is trained on for this row, if the row carries its turns."""
    return row["turns"][-1]["answer"] if row.get("turns") else None


def _option(options: list[str], letter: str) -> str:
    """The text behind a letter; options that read the same are the same answer."""
    return options[choices.letters(options).index(letter)].strip()


def _choice(rows: Mapping[str, Row]) -> Scorer:
    """Options by letter; an output that names none is wrong and unparsed."""
    for sample, row in rows.items():
        if row["references"][0] not in list(choices.letters(row["choices"] or [])):
            raise InputError(
                f"sample {sample!r}: metric choice needs the options and the right one's letter; "
                f"found options {row['choices']} and answer {row['references'][0]!r}."
            )

    def score(sample: str, text: str) -> tuple[float, bool]:
        row = rows[sample]
        options, right = row["choices"], row["references"][0]
        said = choices.parse_choice(text, options, by_text=_target(row) not in (None, right))
        return 100.0 * (said is not None and _option(options, said) == _option(options, right)), (
            said is not None
        )

    return score


def _iou(rows: Mapping[str, Row], threshold: float = 0.5, inclusive: bool = False) -> Scorer:
    """Boxes by overlap beyond the threshold; no sound box in an output is wrong and unparsed."""
    for sample, row in rows.items():
        box = row["box"]
        if box is None or len(box) != 4 or box[2] <= box[0] or box[3] <= box[1]:
            raise InputError(f"sample {sample!r}: metric iou needs a gold box, found {box}.")

    def score(sample: str, text: str) -> tuple[float, bool]:
        box = answers.parse_box(text)
        if box is None:
            return 0.0, False
        overlap = round(answers.iou(box, rows[sample]["box"]), 9)  # a half stays a half
        return 100.0 * (overlap > threshold or (inclusive and overlap == threshold)), True

    return score


def _cider(rows: Mapping[str, Row]) -> Scorer:
    """Captions; every text is a caption, the empty one too."""
    cider = Cider({sample: row["references"] for sample, row in rows.items()})
    return lambda sample, text: (100.0 * cider.score(sample, text), True)


METRICS: dict[str, Callable[..., Scorer]] = {
    "accuracy": _accuracy,
    "exact": _exact,
    "soft_accuracy": partial(_annotated, agreement=answers.soft_accuracy),
    "vqa_accuracy": partial(_annotated, agreement=vqa_scripts.vqa_accuracy),
    "textvqa": partial(_annotated, agreement=vqa_scripts.textvqa_accuracy),
    "choice": _choice,
    "iou": _iou,
    "cider": _cider,
}
for published in peer_scripts.RULES:
    METRICS[published] = partial(_as_published, name=published)


def _entry(metric: Metric) -> dict[str, Any]:
    return {"name": metric} if isinstance(metric, str) else dict(metric)


def metric_label(metric: Metric) -> str:
    """The metric in tables; its options are told where the manifest sets any ("iou >= 0.5")."""
    options = _entry(metric)
    name = options.pop("name")
    if not options:
        return name
    sign = ">=" if options.get("inclusive") else ">"
    return f"{name} {sign} {options.get('threshold', 0.5):g}"


def columns(metric: Metric) -> list[str]:
    """What of the test rows a metric looks at; images are left on disk where it can do without."""
    named = ["images"] if _entry(metric)["name"] == "mllm_cl_sci" else []
    return ["sample_id", "turns", "references", "choices", "box", *named]


def make_scorer(metric: Metric, rows: Mapping[str, Row]) -> Scorer:
    """The scorer of a task's test rows (by sample id) under one of :data:`METRICS`.

    Raises:
        InputError: unknown metric, no rows, or a row whose gold answer does not fit the metric.
    """
    options = _entry(metric)
    name = options.pop("name")
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    if not rows:
        raise InputError(f"metric {name}: no test rows to score.")
    for sample, row in rows.items():
        if not row["references"]:
            raise InputError(f"sample {sample!r}: no gold answers to score against.")
    return METRICS[name](rows, **options)


def targets_that_fail(metric: Metric, rows: Mapping[str, Row]) -> list[str]:
    """The test rows (by sample id, with ``turns``) whose own training target is not right.

    Right is a score of 100; a caption is right if it equals a reference, since the scale of CIDEr
    depends on the other references.

    Raises:
        InputError: as :func:`make_scorer`.
    """
    scorer, of_captions = make_scorer(metric, rows), _entry(metric)["name"] == "cider"

    def is_right(sample: str, row: Row) -> bool:
        target = _target(row) or ""
        if of_captions:
            return target.strip() in {caption.strip() for caption in row["references"]}
        return scorer(sample, target)[0] >= 100.0 - 1e-9

    return [sample for sample, row in rows.items() if not is_right(sample, row)]


def report_targets(metric: Metric, rows: Mapping[str, Row], shown: int = 5) -> None:
    """Print how many test rows a model that has learnt its targets cannot get right, and which.

    Raises:
        InputError: as :func:`make_scorer`.
    """
    if failing := targets_that_fail(metric, rows):
        more = ", ..." if len(failing) > shown else ""
        print(
            f"test: note: the training target of {len(failing)} of {len(rows)} rows is not right "
            f"under metric {metric_label(metric)}: {', '.join(failing[:shown])}{more}"
        )


def bootstrap_interval(
    scores: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of ``scores`` (n,); their order plays no part.

    For CIDEr the images' scores are resampled with the document frequencies held fixed.
    """
    ordered, n = np.sort(scores), len(scores)
    if ordered[0] == ordered[-1]:
        return float(ordered[0]), float(ordered[0])
    rng = np.random.default_rng(seed)
    means = [ordered[rng.integers(n, size=n)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarise(scores: np.ndarray, parsed: np.ndarray, *, resamples: int, seed: int) -> Score:
    """The :class:`Score` of samples' scores (n,) and whether their answers were readable (n,)."""
    low, high = bootstrap_interval(scores, resamples, seed)
    mean = fsum(scores.tolist()) / len(scores)  # its last bit does not depend on memory
    return Score(mean, len(scores), int((~parsed).sum()), low, high)

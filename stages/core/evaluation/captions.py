"""CIDEr of captions (Vedantam et al., CVPR 2015), in the variant every caption table reports.

The arithmetic is that of the COCO caption evaluation (pycocoevalcap, there called CIDEr): n-grams
of one to four tokens, tf-idf with the document frequency of the test references, counts clipped
to the reference's, a Gaussian penalty on the difference in length, times ten. Captions of one
image are scored against the references' statistics only, so each distinct caption needs scoring
once however many runs share it.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.evaluation.caption_tokens import tokenize

LONGEST = 4  # tokens in an n-gram
SIGMA = 6.0  # tokens, of the length penalty

Vector = list[dict[tuple[str, ...], float]]


def _ngrams(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(tokens) - n + 1)
    )


@dataclass(frozen=True)
class _Weighted:
    """A caption's tf-idf weights and their norm for each n, and its length in bigrams."""

    weights: Vector
    norms: list[float]
    length: int


class Cider:
    """CIDEr against fixed references.

    ``references`` maps an image's id to its reference captions; all images of the test set must
    be there, because the document frequency counts them.
    """

    def __init__(self, references: Mapping[str, Sequence[str]]) -> None:
        counts = {
            image: [_ngrams(tokenize(caption)) for caption in captions]
            for image, captions in references.items()
        }
        frequency: Counter[tuple[str, ...]] = Counter()
        for captions in counts.values():
            frequency.update(set().union(*captions))
        self._log_images = math.log(len(counts)) if counts else 0.0
        self._log_frequency = {gram: math.log(images) for gram, images in frequency.items()}
        self._references = {
            image: [self._weigh(caption) for caption in captions]
            for image, captions in counts.items()
        }

    def _weigh(self, counts: Counter[tuple[str, ...]]) -> _Weighted:
        weights: Vector = [{} for _ in range(LONGEST)]
        for gram, count in counts.items():
            idf = self._log_images - self._log_frequency.get(gram, 0.0)
            weights[len(gram) - 1][gram] = count * idf
        norms = [math.sqrt(sum(w * w for w in of_n.values())) for of_n in weights]
        return _Weighted(weights, norms, sum(n for gram, n in counts.items() if len(gram) == 2))

    def score(self, image: str, caption: str) -> float:
        """CIDEr of one caption of an image: 0 to 10, 10 for its only reference.

        The score of a test set is the mean over its images (published times 100).
        """
        candidate = self._weigh(_ngrams(tokenize(caption)))
        references = self._references[image]
        return 10.0 * math.fsum(_similarity(candidate, one) for one in references) / len(references)


def _similarity(candidate: _Weighted, reference: _Weighted) -> float:
    """Mean over n of the clipped cosine, times the length penalty; 0..1."""
    total = 0.0
    for n in range(LONGEST):
        norm = candidate.norms[n] * reference.norms[n]
        if norm == 0.0:
            continue
        theirs = reference.weights[n]
        shared = candidate.weights[n].keys() & theirs.keys()
        total += sum(min(candidate.weights[n][g], theirs[g]) * theirs[g] for g in shared) / norm
    penalty = math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))
    return penalty * total / LONGEST

"""CIDEr and its tokens against the published pipeline (pycocoevalcap, Java) and hand tables."""

import itertools
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider as PublishedCider

from stages.core.evaluation.caption_tokens import tokenize
from stages.core.evaluation.captions import Cider

SENTENCES = Path(__file__).parents[2] / "data" / "caption_sentences.txt"
needs_java = pytest.mark.skipif(
    shutil.which("java") is None, reason="the published tokenizer needs Java"
)

# Worked out by hand from the treebank's rules; brackets are the tokens that count.
TABLE = [
    ("A man riding a horse.", "a man riding a horse"),
    ("", ""),
    ("  Two   dogs \n run ", "two dogs run"),
    # hyphens and dashes
    ("a black-and-white t-shirt", "a black-and-white t-shirt"),
    ("a dog - with a bone -- outside", "a dog with a bone outside"),
    ("a dog—with a bone – outside", "a dog with a bone outside"),
    ("a 3-year-old and a 20-foot boat", "a 3-year-old and a 20-foot boat"),
    # apostrophes, possessives, contractions
    ("the man's dogs' toys", "the man 's dogs toys"),
    ("James' bike and James's car", "james bike and james 's car"),
    ("it isn't, can't, won't and don't", "it is n't ca n't wo n't and do n't"),
    ("they're sure he'd say I'm here", "they 're sure he 'd say i 'm here"),
    ("the dog’s toy isn’t here", "the dog 's toy is n't here"),
    ("he cannot, she's gonna", "he can not she 's gon na"),
    ("five o'clock, ma'am; O'Brien", "five o'clock ma'am o'brien"),
    ("rock 'n' roll in the '90s", "rock 'n' roll in the '90s"),
    ("y'all", "y' all"),
    # quotes
    ("a sign that says \"STOP\" and 'go'", "a sign that says stop and go"),
    ("a “stop” ‘sign’ and ``this''", "a stop sign and this"),
    # numbers, currency, units
    ("1,000 people and 3.5 miles at 10:30", "1,000 people and 3.5 miles at 10:30"),
    ("$5.00, £3, €2 and 50¢", "$ 5.00 # 3 $ 2 and 50 cents"),
    ("100% of #1 at 5pm", "100 % of # 1 at 5pm"),
    ("6'2\" tall", "6 2 tall"),
    ("½ cup, 1/2 price", "1/2 cup 1/2 price"),
    ("on 12/25/2014", "on 12/25/2014"),
    # abbreviations
    ("Mr. Smith on Main St. at 3 p.m.", "mr. smith on main st. at 3 p.m."),
    ("No. 5 in the U.S. vs. them, etc.", "no. 5 in the u.s. vs. them etc."),
    ("the letter A. The end.", "the letter a the end"),
    ("J. R. Smith", "j. r. smith"),
    # slashes, brackets, ampersands
    ("a black/white photo and/or print", "a black/white photo and/or print"),
    ("a man (left) [right] {up}", "a man -lrb- left -rrb- -lsb- right -rsb- -lcb- up -rcb-"),
    ("R&B, AT&T, a & b, salt&pepper", "r&b at&t a & b salt & pepper"),
    # runs of punctuation stay, single marks go
    ("what?! no!!! yes! hm... ok…", "what ?! no !!! yes hm ok"),
    ("man,dog;cat:bird", "man dog cat bird"),
    ("a bench.A dog", "a bench.a dog"),
    # a full stop directly before , ; : stays with its word, but not with a clitic or fraction
    ("a cat., a dog.; x-ray.: bird", "a cat. a dog. x-ray. bird"),
    ("no 12., 3 and 10.,5", "no 12. 3 and 10. ,5"),  # ",5" is a number there
    ("cat. , dog.) a 3.5., b", "cat dog -rrb- a 3.5 b"),
    ("Mr.Smith., AT&T.; www.a.com., x", "mr.smith. at&t. www.a.com. x"),
    ("the dog's., isn't.; cat.,, b", "the dog 's is n't cat. b"),
    ("t-shirt.; 3rd., café.: 日本., x", "t-shirt. 3rd. café. 日本. x"),
    # symbols, unicode
    ("café naïve Zürich-based 日本", "café naïve zürich-based 日本"),
    ("a + b = c * d @ e", "a + b = c * d @ e"),
    ("a dog 🐶 runs", "a dog runs"),
    ("www.example.com :) #fun @me", "www.example.com :-rrb- #fun @me"),
]


@pytest.mark.parametrize(("caption", "expected"), TABLE)
def test_tokens_by_hand(caption, expected):
    assert " ".join(tokenize(caption)) == expected


def published_tokens(captions: list[str]) -> list[list[str]]:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in enumerate(captions)})
    return [found[i][0].split() for i in range(len(captions))]


def varied_sentences() -> list[str]:
    """Hand-written captions, the table's, and phrases put together at random."""
    rng = np.random.default_rng(7)
    openings = [
        "A man's",
        "Two",
        "The “big”",
        "An old (rusty)",
        "Mr. Lee's",
        "A close-up of a",
        "5",
    ]
    things = [
        "t-shirt",
        "dogs'",
        "1950's diner",
        "stop/yield sign",
        "café",
        "U.S. flag",
        "7-Up can",
    ]
    doings = ["isn't moving", "says 'Hello!'", "costs $3.99", 'reads "No. 5"', "can't be seen"]
    places = [
        "at 10:30 p.m.",
        "next to St. John's",
        "in the '80s",
        "- indoors",
        "...",
        "& outside!",
    ]
    mixed = [
        " ".join(rng.choice(part) for part in (openings, things, doings, places))
        for _ in range(400)
    ]
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return lines + [caption for caption, _ in TABLE if caption.strip()] + mixed


@needs_java
def test_tokens_equal_the_published_tokenizer():
    sentences = [" ".join(s.split()) for s in varied_sentences()]
    assert len(sentences) > 450
    for sentence, theirs in zip(sentences, published_tokens(sentences), strict=True):
        assert list(tokenize(sentence)) == theirs, sentence


def corpus(images: int = 60) -> tuple[dict[str, list[str]], dict[str, str]]:
    """References (1 to 5 an image) and candidates: copies, shuffles, cuts, foreign, empty."""
    rng = np.random.default_rng(3)
    sentences = varied_sentences()
    references, candidates = {}, {}
    for i in range(images):
        image = f"image{i}"
        references[image] = [str(s) for s in rng.choice(sentences, size=1 + i % 5)]
        words = references[image][0].split()
        candidates[image] = [
            " ".join(words),
            " ".join(rng.permutation(words)),
            " ".join(words[: max(1, len(words) // 2)]),
            "zebra zebra zebra on unknown words",
            "",
        ][i % 5]
    return references, candidates


def published_scores(references, candidates, tokens) -> np.ndarray:
    flat = [c for captions in references.values() for c in captions] + list(candidates.values())
    spelt = dict(zip(flat, (" ".join(t) for t in tokens(flat)), strict=True))
    total, scores = PublishedCider().compute_score(
        {image: [spelt[c] for c in captions] for image, captions in references.items()},
        {image: [spelt[caption]] for image, caption in candidates.items()},
    )
    assert total == pytest.approx(np.mean(scores))
    return scores


def test_cider_equals_pycocoevalcap_on_equal_tokens():
    references, candidates = corpus()
    cider = Cider(references)
    ours = [cider.score(image, caption) for image, caption in candidates.items()]
    theirs = published_scores(references, candidates, lambda all_: map(tokenize, all_))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert min(ours) == 0.0 and max(ours) > 5.0


@needs_java
def test_whole_pipeline_equals_pycocoevalcap_with_java():
    references, candidates = corpus()
    cider = Cider(references)
    ours = [cider.score(image, caption) for image, caption in candidates.items()]
    theirs = published_scores(references, candidates, published_tokens)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def dense_cider(references: list[list[list[str]]], candidates: list[list[str]]) -> list[float]:
    """CIDEr with dense numpy vectors, straight from the definition."""

    def grams(words, n):
        return Counter(zip(*(words[i:] for i in range(n)), strict=False))

    totals = np.zeros(len(candidates))
    for n in range(1, 5):
        vocabulary = sorted(
            {g for c in candidates for g in grams(c, n)}
            | {g for r in itertools.chain(*references) for g in grams(r, n)}
        )
        df = np.array(
            [sum(any(g in grams(r, n) for r in rs) for rs in references) for g in vocabulary]
        )
        idf = math.log(len(references)) - np.log(np.maximum(df, 1))

        def vector(words, n=n, vocabulary=vocabulary, idf=idf):
            counts = grams(words, n)
            return np.array([counts[g] for g in vocabulary]) * idf

        for i, (candidate, refs) in enumerate(zip(candidates, references, strict=True)):
            c = vector(candidate)
            for ref in refs:
                r = vector(ref)
                norm = np.linalg.norm(c) * np.linalg.norm(r)
                cosine = np.minimum(c, r) @ r / norm if norm else 0.0
                gap = max(len(candidate) - 1, 0) - max(len(ref) - 1, 0)
                totals[i] += 10 / 4 * cosine * math.exp(-(gap**2) / 72) / len(refs)
    return totals.tolist()


def test_cider_equals_a_dense_computation():
    references = {
        "x": ["a red dog runs on grass", "the dog is red"],
        "y": ["a blue cat sits on a mat", "a cat sits"],
        "z": ["two birds fly over the blue sea"],
    }
    candidates = {"x": "a red dog sits on grass", "y": "a a a cat sits", "z": "birds fly"}
    expected = dense_cider(
        [[c.split() for c in captions] for captions in references.values()],
        [c.split() for c in candidates.values()],
    )
    cider = Cider(references)
    assert [cider.score(i, c) for i, c in candidates.items()] == pytest.approx(expected, abs=1e-12)


def test_the_only_reference_scores_ten():
    cider = Cider({"x": ["a red dog runs fast"], "y": ["one blue cat sits still"]})
    assert cider.score("x", "A red dog runs fast.") == pytest.approx(10.0)
    assert cider.score("x", "one blue cat sits still") == 0.0


def test_one_image_has_no_information():
    """With one document every n-gram is in all documents; published CIDEr is 0 too."""
    assert Cider({"x": ["a red dog runs"]}).score("x", "a red dog runs") == 0.0

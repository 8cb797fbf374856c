"""Zero-shot figures of a pocket backbone on the alignment pool's held-out share.

Reads   a backbone folder, the pool (its objects, words and digits that alignment never saw)
Writes  a JSON file: for every probe its figures and the number of samples

    python -m stages.pocket.evaluate_backbone --backbone results/backbones/pocket \\
        --pool results/pocket_backbone/pool --out results/pocket_backbone/evaluation.json

kind      which of ten kinds one object is (open answer): accuracy, and its mean over the kinds
box       the box of a named object among three: mean IoU, and the share above 0.5
only_box  the box of the only object: likewise
caption   one object's caption: CIDEr x 100 (references of all objects asked about)
word      one rendered town name: accuracy, and the mean similarity of spelling (0..1)
capitals  one or two rendered capitals: likewise
number    a number of one to five handwritten digits: accuracy, and the similarity of spelling
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base import cli

if TYPE_CHECKING:
    import numpy

    from stages.core.backbone.load import Backbone
    from stages.pocket.pool import Pool
    from stages.pocket.scenes import Scene

SAMPLES = 240  # at most, of every probe
BATCH = 40


@dataclass(frozen=True)
class Probe:
    """One question about a held-out scene; ``gold`` is the answer, or the box of a box probe."""

    scene: "Scene"
    question: str
    gold: str | tuple[float, ...]


def evaluate_backbone(
    folder: Path, pool_folder: Path, seed: int, samples: int = SAMPLES, dtype: str = "auto"
) -> dict[str, dict[str, float]]:
    """Figures of every probe, percentages unless said otherwise above."""
    from stages.core.backbone.load import load_backbone
    from stages.pocket.pool import read_pool

    settings = {"dtype": dtype, "image_size": None, "max_tiles": 1}
    backbone = load_backbone(folder, settings)
    pool = read_pool(pool_folder, "heldout")
    size = backbone.prompter.images.tile
    figures = {}
    for name, (make, score, limit) in PROBES.items():
        probes = make(pool, size, seed, samples)
        answers = ask(backbone, probes, limit)
        figures[name] = {"n": len(probes)} | score(probes, answers)
    return figures


def ask(backbone: "Backbone", probes: list[Probe], limit: int) -> list[str]:
    """Greedy answers of at most ``limit`` tokens."""
    from stages.core.backbone.decoding import generate

    prompter, answers = backbone.prompter, []
    for start in range(0, len(probes), BATCH):
        rows = [_row(probe) for probe in probes[start : start + BATCH]]
        batch = prompter.collate([prompter.generation_example(row) for row in rows], side="left")
        limits = {"max_new_tokens": limit, "min_new_tokens": 0}
        answers += generate(backbone.model, prompter, backbone.to_device(batch), limits)
    return answers


def _row(probe: Probe) -> dict:
    stream = io.BytesIO()
    probe.scene.image.save(stream, "PNG")
    width, height = probe.scene.image.size
    return {
        "sample_id": "",
        "images": [{"bytes": stream.getvalue(), "path": None}],
        "turns": [{"question": probe.question, "answer": ""}],
        "width": width,
        "height": height,
    }


def _random(seed: int, probe: int, index: int) -> "numpy.random.Generator":
    import numpy

    return numpy.random.default_rng([seed, probe, index])


def _single(pool: "Pool", size: int, seed: int, wanted: Callable, limit: int) -> list["Scene"]:
    """One scene for each of the pool's objects that are ``wanted``, at most ``limit``, seeded."""
    from stages.pocket.scenes import compose

    indices = [i for i, thing in enumerate(pool.things) if wanted(thing)]
    order = _random(seed, 0, 0).permutation(indices)[:limit]
    return [compose(_random(seed, 1, i), [pool.things[i]], size) for i in order]


def _kind_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    from stages.pocket.questions import SHORT

    scenes = _single(pool, size, seed, lambda thing: thing.kind, limit)
    question = "What kind of thing is shown?" + SHORT
    return [Probe(scene, question, scene.items[0].kind) for scene in scenes]


def _caption_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    from stages.pocket.questions import CAPTION

    scenes = _single(pool, size, seed, lambda thing: thing.caption, limit)
    return [Probe(scene, CAPTION[0], scene.items[0].caption) for scene in scenes]


def _only_box_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    from stages.pocket.questions import BOX

    scenes = _single(pool, size, seed, lambda thing: True, limit)
    return [Probe(s, BOX[0].format(s.items[0].name), s.items[0].box) for s in scenes]


def _box_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    from stages.pocket.questions import BOX
    from stages.pocket.scenes import compose

    probes: list[Probe] = []
    index = 0
    while len(probes) < limit:
        random = _random(seed, 2, index)
        scene = compose(random, pool.draw_things(random, 3), size)
        if len(scene.items) == 3:
            item = scene.items[random.integers(3)]
            probes.append(Probe(scene, BOX[0].format(item.name), item.box))
        index += 1
    return probes


def _word_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    return _text_probes(pool, size, seed, limit, lambda text: len(text) > 2)


def _capitals_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    return _text_probes(pool, size, seed, limit, lambda text: len(text) <= 2)


def _text_probes(
    pool: "Pool", size: int, seed: int, limit: int, wanted: Callable[[str], bool]
) -> list[Probe]:
    from stages.pocket.questions import SHORT
    from stages.pocket.scenes import text_scene

    scenes = (text_scene(_random(seed, 3, i), pool, size) for i in range(5 * limit))
    single = [s for s in scenes if len(s.items) == 1 and wanted(s.text)][:limit]
    return [Probe(s, "What is written in the image?" + SHORT, s.text) for s in single]


def _number_probes(pool: "Pool", size: int, seed: int, limit: int) -> list[Probe]:
    from stages.pocket.questions import SHORT
    from stages.pocket.scenes import number_scene

    scenes = [number_scene(_random(seed, 4, i), pool, size) for i in range(limit)]
    return [Probe(s, "What number is shown?" + SHORT, s.text) for s in scenes]


def _accuracy(probes: list[Probe], answers: list[str]) -> dict[str, float]:
    from stages.core.evaluation.answers import exact_match

    hits = [exact_match(a, [p.gold]) for p, a in zip(probes, answers, strict=True)]
    return {"accuracy": 100 * sum(hits) / len(hits)}


def _kinds(probes: list[Probe], answers: list[str]) -> dict[str, float]:
    by_kind: dict[str, list[tuple[Probe, str]]] = {}
    for probe, answer in zip(probes, answers, strict=True):
        by_kind.setdefault(probe.gold, []).append((probe, answer))
    each = {k: _accuracy(*map(list, zip(*v, strict=True)))["accuracy"] for k, v in by_kind.items()}
    detail = {f"accuracy_{kind}": each[kind] for kind in sorted(each)}
    return _accuracy(probes, answers) | {"mean_over_kinds": sum(each.values()) / len(each)} | detail


def _spelling(probes: list[Probe], answers: list[str]) -> dict[str, float]:
    pairs = [(p.gold.lower(), a.lower()) for p, a in zip(probes, answers, strict=True)]
    ratios = [SequenceMatcher(None, gold, answer).ratio() for gold, answer in pairs]
    return _accuracy(probes, answers) | {"similarity": sum(ratios) / len(ratios)}


def _boxes(probes: list[Probe], answers: list[str]) -> dict[str, float]:
    from stages.core.evaluation.answers import iou, parse_box

    boxes = [parse_box(answer) for answer in answers]
    ious = [iou(b, p.gold) if b else 0.0 for p, b in zip(probes, boxes, strict=True)]
    above = 100 * sum(value > 0.5 for value in ious) / len(ious)
    return {
        "mean_iou": sum(ious) / len(ious),
        "iou_above_half": above,
        "unparsed": boxes.count(None),
    }


def _cider(probes: list[Probe], answers: list[str]) -> dict[str, float]:
    from stages.core.evaluation.captions import Cider

    cider = Cider({str(i): [probe.gold] for i, probe in enumerate(probes)})
    scores = [cider.score(str(i), answer) for i, answer in enumerate(answers)]
    return {"cider": 100 * sum(scores) / len(scores)}


PROBES = {  # name: (samples, figures, longest answer in tokens)
    "kind": (_kind_probes, _kinds, 8),
    "box": (_box_probes, _boxes, 30),
    "caption": (_caption_probes, _cider, 24),
    "only_box": (_only_box_probes, _boxes, 30),
    "word": (_word_probes, _spelling, 16),
    "capitals": (_capitals_probes, _spelling, 6),
    "number": (_number_probes, _spelling, 10),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--backbone", type=Path, required=True, help="the backbone folder")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the alignment pool")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="at most, of every probe")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16")
    args = parser.parse_args(argv)
    figures = evaluate_backbone(args.backbone, args.pool, args.seed, args.samples, args.dtype)
    partial = args.out.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    partial.replace(args.out)
    print(json.dumps(figures, indent=2, sort_keys=True))


if __name__ == "__main__":
    cli.run(main)

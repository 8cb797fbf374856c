"""Routing of a pocket stream under other wordings, by each kind of router; trains no expert.

    python tests/benchmarks/bench_routing.py [pocket | related] [SEEDS] [PRESET]

SEEDS (1) take minutes each; PRESET is paper or recommended (both).

Prints Markdown: by kind of wording, over all steps of the stream, how often the own task's loss /
threshold is the lowest, how often the own expert also answers, and the AUROC of known samples
against samples of tasks not learnt yet, asked as in training. A seed draws the rows that routers
learn from and the test rows; of several, the means are printed, with the lowest and highest.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stages.core.backbone.features import extract_features, feature_sizes  # noqa: E402
from stages.core.backbone.load import load_backbone  # noqa: E402
from stages.core.base.config import complete  # noqa: E402
from stages.core.base.sampling import pick  # noqa: E402
from stages.core.data.manifests import Manifest, load_manifest  # noqa: E402
from stages.core.data.rows import sound_rows  # noqa: E402
from stages.core.data.samples import Converter  # noqa: E402
from stages.core.data.wordings import KINDS, wordings  # noqa: E402
from stages.core.dmole import routers  # noqa: E402
from stages.core.dmole.routers import Features  # noqa: E402
from stages.core.evaluation.routing_quality import auroc  # noqa: E402
from stages.extract_features import texts_of  # noqa: E402
from stages.fit_router import fit_neighbours, fit_prototype, fit_router  # noqa: E402
from stages.pocket.assemble_backbone import main as assemble  # noqa: E402

BACKBONE = ROOT / "results/backbones/pocket"
SUBSET, TESTED = 64, 40  # rows a task
BATCH = 16
WAYS = {
    "published (preset paper)": {"preset": "paper"},
    "prototypes (the same features)": {"preset": "paper", "router": {"kind": "prototype"}},
    "neighbours (preset recommended)": {"preset": "recommended"},
    "prototypes (the same features again)": {
        "preset": "recommended",
        "router": {"kind": "prototype"},
    },
}
Table = dict[str, tuple[float, ...]]  # what is measured by wording, and of unknown samples


def rows_of(manifest: Manifest, split: str, count: int, most: int, seed: int) -> list[dict]:
    """Some rows of a split."""
    rows = list(
        sound_rows(
            manifest, manifest.split(split), Converter(manifest, manifest.split(split), most)
        )
    )
    return [rows[i] for i in pick(len(rows), count, seed, f"{manifest.name}/{split}")]


def asked(rows: list[dict], manifest: Manifest) -> dict[str, list[str]]:
    """The rows' questions, plain and in other words, by kind."""
    found: dict[str, list[str]] = {}
    for i, row in enumerate(rows):
        question = row["turns"][0]["question"]
        for kind, texts in {"plain": [question], **wordings(question, manifest.content)}.items():
            found.setdefault(kind, []).append(texts[i % len(texts)])
    return {kind: texts for kind, texts in found.items() if len(texts) == len(rows)}


def features(
    config: dict, manifests: dict[str, Manifest], seed: int
) -> dict[str, tuple[Features, dict[str, np.ndarray]]]:
    """By task: what its router learns from, and its test samples' features by kind of wording."""
    backbone = load_backbone(BACKBONE, config["backbone"])
    width, found = feature_sizes(backbone)[0], {}
    settings = config["features"] | {"batch_size": BATCH}
    for task, manifest in manifests.items():
        subset = rows_of(manifest, "train", SUBSET, config["max_pixels"], seed)
        texts = texts_of(subset, manifest.kind, config["router"]["wordings"])
        z = extract_features(backbone, subset, texts=texts, **settings)
        first = np.array([k == 0 for own in texts for k in range(len(own))])
        names = [row["sample_id"] for row in subset]
        rows = rows_of(manifest, "test", TESTED, config["max_pixels"], seed)
        kinds = asked(rows, manifest)
        every = list(map(list, zip(*kinds.values(), strict=True)))
        tested = extract_features(backbone, rows, texts=every, **settings)
        found[task] = (
            Features(task, names, z[first], z[~first], width),
            {kind: tested[i :: len(kinds)] for i, kind in enumerate(kinds)},
        )
        print(f"  seed {seed}: {task}", file=sys.stderr, flush=True)
    return found


def ratios(
    config: dict, found: dict[str, tuple[Features, dict[str, np.ndarray]]], seed: int
) -> dict[tuple[str, str], np.ndarray]:
    """Loss / threshold under every task's router ``(rows, tasks)``, by task and kind."""
    used = {"router": config["router"], "threshold": config["threshold"]}
    made, thresholds = [], []
    for task, (subset, _) in found.items():
        kind = config["router"]["kind"]
        if kind == "neighbours":
            router, content = fit_neighbours(subset, seed, **used)
        else:
            fit = {"autoencoder": fit_router, "prototype": fit_prototype}[kind]
            router, content = fit(subset.z, task, seed, **used)
        made.append(router)
        thresholds.append(content["threshold"])
    return {
        (task, kind): np.stack([routers.losses(router, z) for router in made], axis=1) / thresholds
        for task, (_, tested) in found.items()
        for kind, z in tested.items()
    }


def table(found: dict[tuple[str, str], np.ndarray], tasks: list[str]) -> Table:
    """By wording: own lowest and own answers in per cent, AUROC; and the share of unknown samples
    that is left to the backbone."""
    unknown = np.concatenate(
        [found[t, "plain"][:, :s].min(axis=1) for i, t in enumerate(tasks) for s in range(1, i + 1)]
    )
    measured = {}
    for kind in ("plain", *KINDS):
        lowest, answers, known = [], [], []
        for i, task in enumerate(tasks):
            if (task, kind) not in found:
                continue
            steps = [found[task, kind][:, :s] for s in range(i + 1, len(tasks) + 1)]
            own = np.stack([step.argmin(axis=1) == i for step in steps])
            least = np.stack([step.min(axis=1) for step in steps])
            lowest.append(own.mean())
            answers.append((own & (least <= 1)).mean())
            known.append(least.ravel())
        area = auroc(unknown, np.concatenate(known))
        measured[kind] = (100 * np.mean(lowest), 100 * np.mean(answers), area)
    return measured | {"unknown": (100 * (unknown > 1).mean(),)}


def shown(values: Sequence[float], digits: int) -> str:
    """The mean over seeds, and where there are several the lowest and the highest."""
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" [{min(values):.{digits}f}, {max(values):.{digits}f}]"
    return text


def printed(tables: list[Table]) -> list[str]:
    """Rows of a Markdown table, and a line on unknown samples, from one table a seed."""
    lines = ["| wording | own lowest, % | own answers, % | AUROC |", "|---|---:|---:|---:|"]
    for kind in ("plain", *KINDS):
        columns = zip(zip(*(one[kind] for one in tables), strict=True), (1, 1, 4), strict=True)
        lines.append(f"| {kind} | " + " | ".join(shown(*column) for column in columns) + " |")
    rejected = shown([one["unknown"][0] for one in tables], 1)
    return [*lines, "", f"Unknown samples left to the backbone: {rejected} %."]


def main() -> None:
    """Print a table per kind of router, for the configuration that the command line names."""
    name, seeds, preset = (*sys.argv[1:], *("pocket", "1", "")[len(sys.argv) - 1 :])
    content = yaml.safe_load((ROOT / f"workflow/config/{name}.yaml").read_text())
    if not BACKBONE.is_dir():
        assemble(["--out", str(BACKBONE)])
    tasks = content["tasks"]
    manifests = {t: load_manifest(ROOT / f"data_manifests/pocket/{t}.yaml") for t in tasks}
    there: dict[str, dict] = {}  # features, by what decides them
    ways = {way: new for way, new in WAYS.items() if preset in ("", new["preset"])}
    if not ways:
        sys.exit(f"unknown preset {preset!r}: paper or recommended")
    for way, changes in ways.items():
        config, tables = complete(content | changes, way), []
        for seed in range(int(seeds)):
            key = json.dumps([config["features"], config["router"]["wordings"], seed])
            if key not in there:
                there[key] = features(config, manifests, seed)
            tables.append(table(ratios(config, there[key], seed), tasks))
        print(f"\n{way}\n", *printed(tables), sep="\n", flush=True)


if __name__ == "__main__":
    main()

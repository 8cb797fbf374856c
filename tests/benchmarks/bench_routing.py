"""Routing of a pocket stream under other wordings, by both kinds of router; trains no expert.

    python tests/benchmarks/bench_routing.py [pocket | related]      (minutes on two cores)

Prints Markdown: by kind of wording, over all steps of the stream, how often the own task's loss /
threshold is the lowest, how often the own expert also answers, and the AUROC of known samples
against samples of tasks not learnt yet, asked as in training.
"""

import sys
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
from stages.fit_router import fit_neighbours, fit_router  # noqa: E402
from stages.pocket.assemble_backbone import main as assemble  # noqa: E402

BACKBONE = ROOT / "results/backbones/pocket"
SUBSET, TESTED = 64, 40  # rows a task
WAYS = {"published (preset paper)": "paper", "neighbours (preset recommended)": "recommended"}


def rows_of(manifest: Manifest, split: str, count: int, most: int) -> list[dict]:
    """Some rows of a split."""
    rows = list(
        sound_rows(
            manifest, manifest.split(split), Converter(manifest, manifest.split(split), most)
        )
    )
    return [rows[i] for i in pick(len(rows), count, 0, f"{manifest.name}/{split}")]


def asked(rows: list[dict], manifest: Manifest) -> dict[str, list[str]]:
    """The rows' questions, plain and in other words, by kind."""
    found: dict[str, list[str]] = {}
    for i, row in enumerate(rows):
        question = row["turns"][0]["question"]
        for kind, texts in {"plain": [question], **wordings(question, manifest.content)}.items():
            found.setdefault(kind, []).append(texts[i % len(texts)])
    return {kind: texts for kind, texts in found.items() if len(texts) == len(rows)}


def ratios(config: dict, manifests: dict[str, Manifest]) -> dict[tuple[str, str], np.ndarray]:
    """Loss / threshold under every task's router ``(rows, tasks)``, by task and kind."""
    backbone = load_backbone(BACKBONE, config["backbone"])
    width = feature_sizes(backbone)[0]
    made, thresholds, tested = [], [], {}
    for task, manifest in manifests.items():
        subset = rows_of(manifest, "train", SUBSET, config["max_pixels"])
        texts = texts_of(subset, manifest.kind, config["router"]["wordings"])
        z = extract_features(backbone, subset, texts=texts, **config["features"])
        first = np.array([k == 0 for own in texts for k in range(len(own))])
        used = {"router": config["router"], "threshold": config["threshold"]}
        if config["router"]["kind"] == "neighbours":
            names = [row["sample_id"] for row in subset]
            router, content = fit_neighbours(
                Features(task, names, z[first], z[~first], width), 0, **used
            )
        else:
            router, content = fit_router(z[first], task, 0, **used)
        made.append(router)
        thresholds.append(content["threshold"])
        rows = rows_of(manifest, "test", TESTED, config["max_pixels"])
        kinds = asked(rows, manifest)
        every = list(map(list, zip(*kinds.values(), strict=True)))
        z = extract_features(backbone, rows, texts=every, **config["features"])
        tested |= {(task, kind): z[i :: len(kinds)] for i, kind in enumerate(kinds)}
        print(f"  {task}", file=sys.stderr, flush=True)
    return {
        key: np.stack([routers.losses(router, z) for router in made], axis=1) / thresholds
        for key, z in tested.items()
    }


def table(found: dict[tuple[str, str], np.ndarray], tasks: list[str]) -> list[str]:
    """Rows of a Markdown table, and a line on unknown samples."""
    unknown = np.concatenate(
        [found[t, "plain"][:, :s].min(axis=1) for i, t in enumerate(tasks) for s in range(1, i + 1)]
    )
    lines = ["| wording | own lowest, % | own answers, % | AUROC |", "|---|---:|---:|---:|"]
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
        shown = (100 * np.mean(lowest), 100 * np.mean(answers))
        area = auroc(unknown, np.concatenate(known))
        lines.append(f"| {kind} | {shown[0]:.1f} | {shown[1]:.1f} | {area:.4f} |")
    return [
        *lines,
        "",
        f"Unknown samples left to the backbone: {100 * (unknown > 1).mean():.1f} %.",
    ]


def main() -> None:
    """Print a table per kind of router, for the configuration that the command line names."""
    text = (ROOT / f"workflow/config/{(sys.argv[1:] or ['pocket'])[0]}.yaml").read_text()
    if not BACKBONE.is_dir():
        assemble(["--out", str(BACKBONE)])
    tasks = yaml.safe_load(text)["tasks"]
    manifests = {t: load_manifest(ROOT / f"data_manifests/pocket/{t}.yaml") for t in tasks}
    for name, preset in WAYS.items():
        config = complete(yaml.safe_load(text) | {"preset": preset}, name)
        print(f"\n{name}\n", *table(ratios(config, manifests), tasks), sep="\n", flush=True)


if __name__ == "__main__":
    main()

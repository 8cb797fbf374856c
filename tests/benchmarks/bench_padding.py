"""Share of positions that are padding, with batches as they are made and as they could be.

python -m tests.benchmarks.bench_padding [--backbone results/backbones/pocket]

Prints the tables of docs/loading.md: of the pocket stream's own rows, and of rows that vary around
the typical one of each task in data_manifests/cmit (sides of the image by a factor of e^N(0, 0.3),
question and answer by e^N(0, 0.5)). Nothing is computed, rows are only measured.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.core.backbone.architecture import locate, read_architecture
from stages.core.backbone.batches import Size, by_length
from stages.core.backbone.load import load_prompter
from stages.core.base.config import find_config, load_config
from stages.core.costs import estimate, fitting, memory, workload
from stages.core.costs.flops import Sample
from stages.core.costs.gpus import GPUS
from stages.core.costs.workload import Ruler
from stages.core.runs.runs import Runs
from stages.core.training.sampler import ByLength

ROWS = 2000  # made up, per task
SOME = 300  # of them whose memory is looked at
FOLDS = 8  # of a profile

Row = tuple[Size, int, int]  # of a whole row; its characters and tokens of the question


def padding(batches: Sequence[Sequence[int]]) -> float:
    """Share of the positions of padded batches of lengths."""
    positions = sum(len(batch) * max(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / positions


def cut(lengths: Sequence[int], size: int) -> list[Sequence[int]]:
    """Batches in the order that is given."""
    return [lengths[i : i + size] for i in range(0, len(lengths), size)]


def ordered(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Batches as they are made today."""
    return by_length(lengths, [Size(length, 0, 0) for length in lengths], size)


def in_training(lengths: list[int], batch: int) -> list[list[int]]:
    """Optimiser steps."""
    order = list(ByLength([lengths], batch, 0, lambda: 0))
    return [[lengths[i] for i in part] for part in cut(order, batch)]


def pocket(backbone: str) -> Iterator[tuple[str, list[Row]]]:
    """Rows of the pocket stream's tasks."""
    config = load_config(find_config("pocket"))
    _, family = read_architecture(locate(backbone), config["backbone"])
    ruler, runs = Ruler(family, load_prompter(Path(backbone), family)), Runs(config)
    for task in config["tasks"]:
        _, rows = workload._source_rows(runs.manifest(task), "train", config["max_pixels"], "apply")
        found = []
        for row in rows:
            of, question = ruler.row(row), row["turns"][-1]["question"]
            size = Size(int(of["tokens"]), 0, int(of["answer"]))
            found.append((size, len(question), int(of["question"])))
        yield task, found


def cmit() -> Iterator[tuple[str, list[Row]]]:
    """Made-up rows."""
    config, random = load_config(find_config("cmit")), np.random.default_rng(0)
    _, family = read_architecture(locate("internvl2-2b"), config["backbone"])
    ruler, runs = Ruler(family, None), Runs(config)
    for task in config["tasks"]:
        typical, found = workload.described(runs.manifest(task), "train"), []
        for _ in range(ROWS):
            sides = np.array(typical["image"]) * np.exp(random.normal(0, 0.3, 2))
            image = ruler.tiles(*map(int, sides)) * family.tokens_per_tile
            texts = np.array([typical["question_tokens"], typical["answer_tokens"]])
            question, answer = (texts * np.exp(random.normal(0, 0.5, 2))).astype(int) + 1
            tokens = image + workload.TEMPLATE_TOKENS + question + answer
            characters = question * workload.CHARACTERS_PER_TOKEN
            found.append((Size(int(tokens), image, int(answer)), characters, int(question)))
        yield task, found


def table(rows_of: Iterator[tuple[str, list[Row]]], size: int, batch: int, micro: int) -> None:
    """Padding of every task: inference with ``size`` rows at a time, steps of ``batch`` rows."""
    print(f"| task | tokens | predict: before | after | profile: before | after "
          f"| features: before | after | train, {micro} at a time |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for task, rows in rows_of:
        lengths = [size_of.tokens for size_of, *_ in rows]
        by_question = [of.tokens for of, *_ in sorted(rows, key=lambda row: row[1])]
        folds = [lengths[i::FOLDS] for i in range(FOLDS)]
        texts = [tokens for *_, tokens in rows]
        steps = in_training(lengths, batch)
        shares = (
            padding(cut(by_question, size)),
            padding(ordered(lengths, size)),
            padding([part for fold in folds for part in cut(fold, min(size, 8))]),
            padding([part for fold in folds for part in ordered(fold, min(size, 8))]),
            padding(cut(texts, size)),
            padding(ordered(texts, size)),
            padding([part for step in steps for part in cut(step, micro)]),
        )
        span = f"{min(lengths)}–{max(lengths)}"
        print(f"| {task} | {span} | {' | '.join(f'{100 * share:.1f}%' for share in shares)} |")


def passes(gpu: str) -> None:
    """Forward passes of training and prediction by memory: with as many rows as the longest allows,
    and with batches of their own."""
    config = load_config(find_config("cmit"))
    arch, _ = read_architecture(locate("internvl2-2b"), config["backbone"])
    forecast = estimate.Forecast(
        Runs(config), "dmole", arch, estimate.Machine(gpu, GPUS[gpu], 8, 0.25)
    )
    learning = forecast.learning(config["tasks"][1])

    def training(sample: Sample, size: int, again: bool) -> memory.Memory:
        return memory.training(arch, sample, learning, size, dropout=0.05, checkpointing=again)

    def prediction(sample: Sample, size: int, _: bool) -> memory.Memory:
        return memory.prediction(arch, sample, replace(learning, trained={}), size, 100)

    print(f"\n| {gpu}, passes per 1,000 rows | predict: before | after | train: before | after |")
    print("|---|---|---|---|---|")
    for task, rows in cmit():
        sizes = [size for size, *_ in rows[:SOME]]
        most = {name: fitting._by_size(arch, needs, "auto", GPUS[gpu].memory)
                for name, needs in (("predict", prediction), ("train", training))}  # fmt: skip
        with redirect_stdout(None):  # what a job says of its choice
            longest = Size(*map(max, zip(*sizes, strict=True)))
            share = config["training"]["batch_size"] // 8
            micro = max(
                n for n in range(1, share + 1) if share % n == 0 and n <= most["train"](longest)
            )
            by_tokens: dict[int, list[Size]] = {}
            for size in sizes:
                by_tokens.setdefault(size.tokens, []).append(size)
            steps = in_training([size.tokens for size in sizes], share)
            trained = [[by_tokens[tokens][0] for tokens in step] for step in steps]
            counts = (
                len(sizes) / most["predict"](longest),
                len(by_length(sizes, sizes, most["predict"])),
                len(sizes) / micro,
                sum(len(by_length(step, step, most["train"])) for step in trained),
            )
        print(f"| {task} | {' | '.join(f'{1000 * n / len(sizes):.0f}' for n in counts)} |")


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="results/backbones/pocket")
    args = parser.parse_args()
    table(pocket(args.backbone), 16, 8, 8)
    print()
    table(cmit(), 64, 80, 2)
    passes("a100")


if __name__ == "__main__":
    main()

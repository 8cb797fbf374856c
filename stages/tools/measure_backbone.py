"""Measure what a backbone needs here: time and peak memory of a profile, a training step, answers.

Reads   a backbone folder; or the name of a configuration in data_manifests/backbones, of which a
        model with random weights in bfloat16 is written below --work (and removed again)
Writes  nothing else; prints a table, or with --json the same numbers

    python -m stages.tools.measure_backbone --backbone internvl2-2b  # CPU
    python -m stages.tools.measure_backbone --backbone internvl2-2b --batch 10 --max-tiles 6  # GPU

The steps are the workflow's own: profile_gradients, D-MoLE's training, greedy decoding, with the
settings of --config. Rows are made up; their images have the shape 3:2, which up to six tiles cut
into six and the thumbnail. Memory is the process's (CPU) or what tensors take (GPU); on a CPU that
others use too, "CPU s" is what the step really took, reading rows and writing state included.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import cli, config

if TYPE_CHECKING:
    from stages.core.backbone.architecture import Architecture
    from stages.core.backbone.load import Backbone
    from stages.core.base.meter import Steps
    from stages.core.experts.lora import ExpertModel, SlotRanks

TASK = "made_up"
QUESTION = "Provide a one-sentence caption for the provided image."
ANSWER = "A brown dog runs over a meadow with a stick."
NEW_TOKENS = 10
SIZE = (672, 448)


def made_up_row(number: int) -> dict[str, Any]:
    """A row of the data artefact with a noisy image."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise(SIZE, 64).convert("RGB").save(stream, "JPEG")
    return {
        "sample_id": f"s{number}",
        "images": [{"bytes": stream.getvalue(), "path": None}],
        "turns": [{"question": QUESTION, "answer": ANSWER}],
        "references": [ANSWER],
        "choices": None,
        "box": None,
        "width": SIZE[0],
        "height": SIZE[1],
    }


def measure_backbone(
    folder: Path, settings: dict[str, Any], work: Path, *, batch: int, steps: int, folds: int
) -> dict[str, Any]:
    """Measure the backbone in ``folder``.

    Args:
        settings: a completed config.
        work: folder for checkpoints.
        batch: samples of a training step and of a generation.
        steps: training steps; the first is left out of the time if there are more.
        folds: batches of the profile.
    """
    from stages.core.backbone.architecture import describe
    from stages.core.backbone.load import load_backbone, pick_device
    from stages.core.base.meter import Steps

    meter = Steps(pick_device())
    with meter.step("load"):
        backbone = load_backbone(folder, settings["backbone"])
    arch = describe(backbone.model, backbone.prompter.images, folder.name)
    rows = [made_up_row(number) for number in range(batch * steps)]
    _profile(meter, backbone, arch, rows[:batch] * folds, settings["profile"])
    learner, ranks = _train(meter, backbone, arch, rows, settings, batch, work)
    _generate(meter, backbone, arch, rows[:batch], learner, ranks)
    return {
        "backbone": arch.name,
        "parameters": arch.parameters,
        "place": backbone.place,
        "gpu": _gpu_name(),
        "batch": batch,
        "steps": meter.done,
    }


def _sample(backbone: Backbone, row: dict[str, Any]) -> Any:
    """The size of a training row."""
    from stages.core.backbone.prompts import IGNORE
    from stages.core.costs.flops import Sample

    example = backbone.prompter.training_example(row)
    predicted = sum(label != IGNORE for label in example["labels"])
    return Sample(len(example["pixel_values"]), len(example["input_ids"]), predicted)


def _both_ways(arch: Architecture, sample: Any, learning: Any) -> float:
    from stages.core.costs.flops import backward, forward, total

    return total(forward(arch, sample, learning)) + total(backward(arch, sample, learning))


def _profile(
    meter: Steps,
    backbone: Backbone,
    arch: Architecture,
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
) -> None:
    from stages.core.costs.flops import Learning
    from stages.core.dmole.gradients import profile_gradients

    sample = _sample(backbone, rows[0])
    with meter.step("profile_gradients"):
        profile_gradients(backbone, rows, **settings)
    flops = len(rows) * _both_ways(arch, sample, Learning(dense=True))
    meter.done[-1] |= {"tokens": len(rows) * sample.tokens, "flops": flops}


def _train(
    meter: Steps,
    backbone: Backbone,
    arch: Architecture,
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    batch: int,
    work: Path,
) -> tuple[ExpertModel, SlotRanks]:
    """Training steps of D-MoLE's expert, read from Parquet as the workflow does; the model with
    the expert, and its ranks."""
    from datasets import Dataset

    from stages.core.base import artifacts
    from stages.core.costs.estimate import assumed_allocation
    from stages.core.costs.flops import Learning
    from stages.core.experts.job import Job
    from stages.core.training.phases import Phases
    from stages.methods import registry as methods

    artifacts.write_table("data", work / "rows.parquet", rows, task={"name": TASK})
    data = Dataset.from_parquet(str(work / "rows.parquet"), cache_dir=str(work / "cache"))
    method = methods.load("dmole")
    allocation = assumed_allocation(settings, backbone.slots)
    job = Job(TASK, [TASK], settings, backbone.slots, allocation, None)
    sizes = {"batch_size": batch, "micro_batch_size": batch, "epochs": 1, "checkpoint_steps": 1000}
    training = settings["training"] | sizes
    run, stamps = Phases(backbone.prompter, training, TASK, 0, work / "checkpoints", {}), []
    sample = _sample(backbone, rows[0])
    learner = method.prepare(backbone, job, {})

    def timed(model: Any, loss: Any, rows: Any) -> Any:
        def stamped(batch: dict[str, Any]) -> Any:
            stamps.append(meter.now())
            return loss(batch)

        return run(model, stamped, rows)

    with meter.step("train_expert, one step") as entry:
        method.fit(learner, job, data, timed)
        stamps.append(meter.now())
        first = 1 if len(stamps) > 2 else 0
        entry["seconds"] = (stamps[-1] - stamps[first]) / (len(stamps) - 1 - first)
    ranks = method.ranks(job)
    flops = batch * _both_ways(arch, sample, Learning(trained=ranks))
    meter.done[-1] |= {"tokens": batch * sample.tokens, "flops": flops}
    return learner, ranks


def _generate(
    meter: Steps,
    backbone: Backbone,
    arch: Architecture,
    rows: list[dict[str, Any]],
    learner: ExpertModel,
    ranks: SlotRanks,
) -> None:
    """Answers of a fixed length, with the expert."""
    from stages.core.backbone.decoding import generate
    from stages.core.costs import flops

    prompter = backbone.prompter
    examples = [prompter.generation_example(row) for row in rows]
    batch = backbone.to_device(prompter.collate(examples, side="left"))
    limits = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    with meter.step(f"generate, {NEW_TOKENS} tokens"), learner.using([TASK]) as model:
        generate(model.eval(), prompter, batch, limits)
    prompt, tiles = len(examples[0]["input_ids"]), len(examples[0]["pixel_values"])
    learning = flops.Learning(frozen=ranks)
    operations = flops.total(flops.forward(arch, flops.Sample(tiles, prompt, 1), learning))
    operations += flops.total(flops.decoding(arch, prompt, NEW_TOKENS, learning))
    tokens = len(rows) * (prompt + NEW_TOKENS)
    meter.done[-1] |= {"tokens": tokens, "flops": len(rows) * operations}


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _table(found: dict[str, Any]) -> Any:
    from stages.core.costs.flops import GPUS
    from stages.tools.display import table

    name = (found["gpu"] or "").lower()
    peak = next((gpu.flops for key, gpu in GPUS.items() if key in name), None)
    made = table("step", "seconds", "CPU s", "tokens/s", "TFLOP", "TFLOP/s", "MFU", "peak GiB")
    for step in found["steps"]:
        cells = ["", "", "", ""]
        if "flops" in step:
            speed = step["flops"] / step["seconds"]
            cells = [f"{step['tokens'] / step['seconds']:,.1f}", f"{step['flops'] / 1e12:.2f}"]
            cells += [f"{speed / 1e12:.3f}", f"{100 * speed / peak:.1f} %" if peak else "·"]
        peak_memory = f"{step['peak_bytes'] / 2**30:.2f}"
        times = (f"{step[key]:.1f}" for key in ("seconds", "cpu_seconds"))
        made.add_row(step["step"], *times, *cells, peak_memory)
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--backbone", required=True, help="a folder, or a shipped name")
    parser.add_argument("--config", default="cmit", help="a file, or a name of workflow/config")
    parser.add_argument("--batch", type=int, default=1, help="samples at a time (default 1)")
    parser.add_argument("--max-tiles", type=int, default=1, help="tiles of an image (default 1)")
    parser.add_argument("--steps", type=int, default=1, help="training steps (default 1)")
    parser.add_argument("--folds", type=int, default=1, help="batches of the profile (default 1)")
    parser.add_argument("--work", type=Path, help="folder for weights and checkpoints")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)
    settings = config.load_config(config.find_config(args.config))
    settings["backbone"]["max_tiles"] = args.max_tiles

    from stages.core.backbone.architecture import locate
    from stages.tools.random_backbone import write_random_backbone

    folder = locate(args.backbone)
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        work = Path(name)
        if not (folder / "tokenizer.json").is_file():
            write_random_backbone(folder, work / folder.name, seed=0)
            folder = work / folder.name
        sizes = {"batch": args.batch, "steps": args.steps, "folds": args.folds}
        with redirect_stdout(sys.stderr):  # what the Trainer says
            found = measure_backbone(folder, settings, work, **sizes)
    if args.json:
        print(json.dumps(found, indent=2))
        return

    from rich.console import Console

    print(f"{found['backbone']}, {found['parameters']:,} weights, on {found['place']}")
    Console(width=100).print(_table(found))


if __name__ == "__main__":
    cli.run(main)

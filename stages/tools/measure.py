"""Measure what a backbone needs here: time and peak memory of a profile, a training step, answers.

Reads   a backbone folder; or the name of a configuration in data_manifests/backbones, of which a
        model with random weights in bfloat16 is written below --work (and removed again)
Writes  nothing else; prints a table, or with --json the same numbers. With --suite a Markdown table

    cmit measure                                            # InternVL2-2B, one row, one tile
    cmit measure --backbone internvl2-2b --batch 10 --max-tiles 6
    cmit measure --suite --max-tiles 6                      # writes docs/gpu.md

The steps are the workflow's own: profile_gradients, D-MoLE's training, greedy decoding, with the
settings of --config. Rows are made up; their images have the shape 3:2, which up to six tiles cut
into six and the thumbnail. Memory is the process's (CPU) or what tensors take (GPU); on a CPU that
others use too, "CPU s" is what the step really took, reading rows and writing state included.

The suite measures a training step with and without activation checkpointing, beside a bare loop
over transformers and PEFT with the same expert, a profile, features and answers; its batch is the
largest of training that fits the GPU (--batch on a CPU). Peak memory stands beside the planner's.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from stages.core.base import cli, config
from stages.core.base.errors import InputError

STEP = "train_expert, one step"
PLAIN = "transformers and PEFT alone, one step"
SUITE_STEPS = 4  # of a training
GB = 1e9


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
    from stages.tools.bench import Bench

    bench = Bench(folder, settings, work, batch=batch, steps=steps)
    bench.profile(folds)
    bench.train(STEP, checkpointing=False)
    bench.generate()
    return _found(bench)


def measure_suite(folder: Path, settings: dict[str, Any], work: Path, *, batch: int) -> dict:
    """The suite, see the head of this file; ``batch`` counts on a CPU."""
    from stages.tools.bench import Bench

    bench = Bench(folder, settings, work, batch=batch, steps=SUITE_STEPS)
    if bench.meter.cuda:
        bench.fill()
    bench.profile(folds=8)
    bench.features()
    bench.plain_loop(PLAIN, SUITE_STEPS)
    bench.train(f"{STEP}, checkpointing", checkpointing=True)
    bench.train(STEP, checkpointing=False)
    bench.generate()
    return _found(bench)


def _found(bench: Any) -> dict[str, Any]:
    return {
        "backbone": bench.arch.name,
        "parameters": bench.arch.parameters,
        "place": bench.backbone.place,
        "gpu": _gpu_name(),
        "batch": bench.batch,
        "steps": bench.meter.done,
    }


def _gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


COLUMNS = ("step", "seconds", "CPU s", "tokens/s", "TFLOP", "TFLOP/s", "MFU", "peak GB", "planned")


def _cells(found: dict[str, Any]) -> list[list[str]]:
    """The rows of the table."""
    from stages.core.costs.gpus import GPUS

    name = (found["gpu"] or "").lower().replace(" ", "")
    peak = next((gpu.flops for key, gpu in GPUS.items() if key in name), None)
    return [[step["step"], *_numbers(step, peak)] for step in found["steps"]]


def _numbers(step: dict[str, Any], peak: float | None) -> list[str]:
    cells = [f"{step[key]:.2f}" for key in ("seconds", "cpu_seconds")]
    if "flops" in step:
        speed = step["flops"] / step["seconds"]
        cells += [f"{step['tokens'] / step['seconds']:,.1f}", f"{step['flops'] / 1e12:.3g}"]
        cells += [f"{speed / 1e12:.3g}", f"{100 * speed / peak:.1f} %" if peak else "·"]
    else:
        cells += [""] * 4
    planned = f"{step['planned_bytes'] / GB:.3g}" if "planned_bytes" in step else ""
    return [*cells, f"{step['peak_bytes'] / GB:.2f}", planned]


def _title(found: dict[str, Any]) -> str:
    return (
        f"{found['backbone']}, {found['parameters']:,} weights, on {found['place']} "
        f"({found['gpu'] or 'no GPU'}), {found['batch']} samples at a time"
    )


def _markdown(found: dict[str, Any], command: str) -> str:
    """The table with the command that made it."""
    lines = [COLUMNS, ["---"] + ["---:"] * (len(COLUMNS) - 1), *_cells(found)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    seconds = {step["step"]: step["seconds"] for step in found["steps"]}
    own, plain = seconds[STEP], seconds[PLAIN]
    return (
        f"# Measured\n\n{_title(found)}. Written by\n\n    {command}\n\n{table}\n\n"
        f"The bare loop takes {plain / own:.2f} of the time of our step without checkpointing; its "
        "batch lies there ready, ours is read, decoded and cut within the step. Planned memory "
        "leaves out CUDA itself and work space.\n"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument(
        "--backbone", default="internvl2-2b", help="a folder, or a shipped name (internvl2-2b)"
    )
    parser.add_argument("--config", default="cmit", help="a file, or a name of workflow/config")
    parser.add_argument("--batch", type=int, default=1, help="samples at a time (default 1)")
    parser.add_argument("--max-tiles", type=int, default=1, help="tiles of an image (default 1)")
    parser.add_argument("--steps", type=int, default=1, help="training steps (default 1)")
    parser.add_argument("--folds", type=int, default=1, help="batches of the profile (default 1)")
    parser.add_argument("--work", type=Path, help="folder for weights and checkpoints")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--suite",
        type=Path,
        nargs="?",
        const=Path("docs/gpu.md"),
        help="measure the suite, and write it to a Markdown file (docs/gpu.md)",
    )
    args = parser.parse_args(argv)
    if args.batch < 1:
        raise InputError(f"--batch {args.batch}: at least 1.")
    if args.suite and not args.suite.absolute().parent.is_dir():
        raise InputError(f"--suite: {args.suite.parent} is no folder; name a file in one.")
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
        with redirect_stdout(sys.stderr):  # what the Trainer says
            if args.suite:
                found = measure_suite(folder, settings, work, batch=args.batch)
            else:
                sizes = {"batch": args.batch, "steps": args.steps, "folds": args.folds}
                found = measure_backbone(folder, settings, work, **sizes)
    if args.suite:
        words = sys.argv[1:] if argv is None else argv
        command = f"cmit measure {shlex.join(words)}"
        args.suite.write_text(_markdown(found, command), encoding="utf-8")
    if args.json:
        print(json.dumps(found, indent=2))
        return

    from rich.console import Console

    from stages.tools.display import table

    made = table(*COLUMNS)
    for cells in _cells(found):
        made.add_row(*cells)
    print(_title(found))
    Console(width=120).print(made)


if __name__ == "__main__":
    cli.run(main)

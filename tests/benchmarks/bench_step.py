"""A training step on one core, beside a bare loop over transformers and PEFT, and beside matmul.

python -m tests.benchmarks.bench_step [--compile]

Needs results/backbones/pocket (make demo). Prints Markdown: CPU seconds of a step, the share of the
speed that bfloat16 products of the step's own shapes have in the same run, and with --compile the
loop under torch.compile, with what compiling costs before the first step (minutes).
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from stages.core.base import config
from stages.core.base.meter import Steps
from stages.tools.bench import Bench

BACKBONE = Path("results/backbones/pocket")
BATCH, STEPS, ROUNDS = 4, 6, 3
SHAPES = [(208, 576, 1536), (208, 1536, 576), (208, 576, 576), (260, 384, 1536)]  # rows, in, out
SPELL = 1.0  # seconds of a product


class CpuSteps(Steps):
    """A meter whose clock is the CPU time of this process, so that other work does not count."""

    def now(self) -> float:
        """CPU seconds so far."""
        return time.process_time()


def spent() -> float:
    """CPU seconds of this process and of those that it has started, compilers for one."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def speed(tokens: int, width: int, out: int) -> float:
    """Operations a second of products of one shape."""
    rows, weights = (torch.randn(n, width, dtype=torch.bfloat16) for n in (tokens, out))
    start, done = time.process_time(), 0
    while (taken := time.process_time() - start) < SPELL:
        torch.nn.functional.linear(rows, weights)
        done += 1
    return 2 * tokens * width * out * done / taken


def row(name: str, seconds: list[float], own: list[float], flops: float, peak: float) -> str:
    """A line of the table; ratios by round, lowest and highest."""
    ratios = [a / b for a, b in zip(seconds, own, strict=True)]
    cells = [
        f"{fmean(found):.2f} [{min(found):.2f}, {max(found):.2f}]" for found in (seconds, ratios)
    ]
    return f"| {name} | {' | '.join(cells)} | {flops / fmean(seconds) / peak:.2f} |"


def measured(bench: Bench, run: Callable[[], Any]) -> float:
    """CPU seconds of a step that ``run`` measures; the first step is left out."""
    run()
    return bench.meter.done[-1]["seconds"]


def main() -> None:
    """Rounds of both, then the compiled loop."""
    torch.set_num_threads(1)
    settings = config.load_config(config.find_config("cmit"))
    settings["backbone"]["max_tiles"] = 1
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(BACKBONE, settings, Path(work), batch=BATCH, steps=STEPS)
        bench.meter = CpuSteps(bench.backbone.device)
        own, bare = [], []
        for _ in range(ROUNDS):
            bare.append(measured(bench, lambda: bench.plain_loop("bare", STEPS)))
            own.append(measured(bench, lambda: bench.train("own", checkpointing=False)))
        flops = bench.meter.done[-1]["flops"]
        peak = fmean(speed(*shape) for shape in SHAPES)
        print("\n| step | CPU seconds | beside ours | share of matmul |")
        print("| --- | ---: | ---: | ---: |")
        print(row("ours", own, own, flops, peak))
        print(row("transformers and PEFT alone", bare, own, flops, peak))
        if "--compile" in sys.argv:
            start = spent()
            compiled = measured(bench, lambda: bench.plain_loop("compiled", STEPS, torch.compile))
            print(row("the same, compiled", [compiled], [fmean(own)], flops, peak))
            print(f"\nCompiling took {spent() - start - STEPS * compiled:.0f} CPU seconds.")
        print(f"\nProducts: {peak / 1e9:.0f} GFLOP/s; a step has {flops / 1e9:.0f} GFLOP.")


if __name__ == "__main__":
    main()

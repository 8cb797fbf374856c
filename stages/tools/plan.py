"""Forecast what a run will cost: steps, FLOPs, GPU-hours, memory, SLURM jobs.

Reads   a configuration, its manifests, the backbone's config.json, and rows where there are any
        (the run's prepared tables, else the manifests' files; else what the manifests assume)
Writes  nothing; prints tables, or with --json the same numbers as JSON

    cmit plan --config cmit
    cmit plan --config cmit --gpus 4 --gpu h100 --mfu 0.4 --method seq_ft --json

The formulas are in stages/core/costs/flops.py and memory.py. Training hours stand beside published
ones where the folder of manifests has a table of them; "implied" is the share of the peak (MFU) at
which this plan's operations take the published time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from stages.core.base import cli
from stages.core.base.config import find_config, load_config
from stages.core.base.errors import InputError, unknown
from stages.core.costs.gpus import GPUS


def plan_costs(
    config: dict[str, Any], run: str, backbone: str, *, gpu: str, gpus: int, mfu: float, wait: float
) -> dict[str, Any]:
    """The plan of one run of a config, see ``costs.whole.plan_run``.

    Args:
        run: a method or variant.
        backbone: a folder, or the name of a shipped configuration.
        gpus: GPUs of one training job.
        wait: minutes in the queue per SLURM job.

    Raises:
        InputError: an unknown method or variant.
    """
    from stages.core.backbone.architecture import locate, read_architecture
    from stages.core.backbone.load import load_prompter
    from stages.core.costs.estimate import Machine
    from stages.core.costs.whole import plan_run
    from stages.core.costs.workload import Ruler
    from stages.core.runs.checks import check_runs
    from stages.core.runs.runs import Runs

    runs = Runs(config)
    check_runs(runs)
    if run not in runs.methods:
        raise unknown("method or variant", run, runs.methods, "--method")
    folder = locate(backbone)
    arch, family = read_architecture(folder, config["backbone"])
    tokenizer = (folder / "tokenizer.json").is_file()
    ruler = Ruler(family, load_prompter(folder, family) if tokenizer else None)
    found = plan_run(runs, run, arch, ruler, Machine(gpu, GPUS[gpu], gpus, mfu), wait)
    found["backbone"] |= {"config": str(folder), "tokenizer": tokenizer}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("--config", required=True, help="a file, or a name of workflow/config")
    parser.add_argument("--method", help="method or variant (default, the config's first)")
    parser.add_argument("--backbone", help="folder or shipped name (default, the config's)")
    parser.add_argument("--gpu", choices=GPUS, default="a100", help="default a100")
    parser.add_argument("--gpus", type=int, help="of one training job (default, gpus.training)")
    parser.add_argument("--mfu", type=float, default=0.25, help="share of the peak (default 0.25)")
    parser.add_argument("--wait", type=float, default=10, help="minutes in the queue (default 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)
    config = load_config(find_config(args.config))
    gpus = config["gpus"]["training"] if args.gpus is None else args.gpus
    if gpus < 1 or not 0 < args.mfu <= 1 or args.wait < 0:
        raise InputError("--gpus is at least 1, --mfu above 0 and at most 1, --wait not negative.")
    found = plan_costs(
        config,
        args.method or config["methods"][0],
        args.backbone or config["backbone"]["path"],
        gpu=args.gpu,
        gpus=gpus,
        mfu=args.mfu,
        wait=args.wait,
    )
    if args.json:
        print(json.dumps(found, indent=2))
        return

    from stages.tools import plan_tables
    from stages.tools.display import console

    out = console()
    for item in plan_tables.tables(found):
        out.print(item)


if __name__ == "__main__":
    cli.run(main)

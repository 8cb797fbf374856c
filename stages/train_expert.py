"""Train what a method learns on one task, on top of the frozen backbone (D-MoLE: the expert).

Reads the task's training rows, the backbone, the method's allocation and transfer (if it has
any), for a method without one the size of a D-MoLE expert, which its ranks match, and the states of
earlier tasks that the method starts from; writes a PEFT adapter folder with ``training.json``
(counts, curves of loss and gradient norm) and ``provenance.json``. Under ``transfer.accept:
lower_loss`` it also reads the task's subset: a parent whose expert does not lower the backbone's
loss on it is left out.

    python -m stages.train_expert --method dmole \\
        --task signs_ocr --tasks stamps_caption signs_ocr \\
        --data results/pocket/data/signs_ocr/train.parquet --backbone results/backbones/pocket \\
        --allocation results/pocket/seed0/allocations/signs_ocr.json \\
        --transfer results/pocket/seed0/transfers/signs_ocr.json \\
        --states results/pocket/seed0/dmole/experts/stamps_caption --seed 0 \\
        --config workflow/config/pocket.yaml --checkpoints results/checkpoints/signs_ocr \\
        --out results/pocket/seed0/dmole/experts/signs_ocr
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, config, distributed, provenance, reading
from stages.core.base.errors import InputError
from stages.core.base.writing import make_folder, saving
from stages.core.dmole import decisions
from stages.core.training.batches import as_usual
from stages.core.training.lock import only_training
from stages.core.training.tracking import TRACKERS, Tracking
from stages.methods import registry as methods

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.core.experts.job import Job
    from stages.methods.base import Method


def train_expert(
    method: Method,
    backbone: Backbone,
    data: dict[str, Path],
    states: dict[str, Path],
    job: Job,
    *,
    checkpoints: Path,
    fingerprint: dict[str, Any],
    out: Path,
    workers: int = 0,
    tracking: Tracking | None = None,
    there: float | None = None,
) -> dict[str, Any]:
    """Train and save the state of ``job.task``; returns the content of ``training.json``.

    Args:
        data: files of training rows, by task.
        states: folders of the earlier states the method starts from, by task.
        fingerprint: what identifies this run; only its own checkpoints are resumed from.
        workers: processes that load rows beside this one.
        tracking: where the losses go beside the log; None: nowhere.
        there: bytes of the GPU, None on a CPU.
    """
    from datasets import Dataset

    from stages.core.costs.fitting import training_step
    from stages.core.experts.ranks import budget_of
    from stages.core.training.examples import KIND
    from stages.core.training.phases import Phases, usual_step

    settings = job.config["training"]
    settings = settings | settings["per_task"].get(job.task, {})
    if states and job.transfer:
        factor = job.config["transfer"]["learning_rate_factor"]
        settings |= {"learning_rate": factor * settings["learning_rate"]}
    dropout = job.config["expert"]["dropout"]
    run = Phases(
        backbone.prompter,
        settings,
        job.task,
        job.seed,
        checkpoints,
        fingerprint,
        workers,
        tracking,
        training_step(backbone, there, dropout) if there else usual_step,
    )
    with distributed.first_before_others():  # the others find the first one's cache
        tables = {
            name: Dataset.from_parquet(str(path), cache_dir=str(checkpoints / "cache"))
            for name, path in data.items()
        }
        if settings["prompt_variants"]:
            for name, table in tables.items():
                kind = artifacts.task_record(data[name])["kind"]
                tables[name] = table.add_column(KIND, [kind] * len(table))
    rows = method.rows(tables, job)
    learner = method.prepare(backbone, job, states)
    history = method.fit(learner, job, rows, run)
    if not distributed.is_first():
        return {}
    with saving(out):
        method.save(learner, job, out)
    counts = {
        "trainable_parameters": sum(p.numel() for p in learner.trainable().values()),
        "stored_parameters": sum(map(reading.weight_count, out.rglob("*.safetensors"))),
    }
    print(
        f"{job.task}: learnt {counts['trainable_parameters']:,} parameters, "
        f"stored {counts['stored_parameters']:,}; budget {budget_of(job):,.0f}"
    )
    curves = {
        "loss": [[step, loss] for step, loss, _ in history],
        "gradient_norm": [[step, norm] for step, _, norm in history if math.isfinite(norm)],
    }
    return {"task": job.task, "rows": len(rows)} | curves | counts


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--tasks", nargs="+", required=True, help="the whole stream, in order")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="training rows")
    for flag in ("--backbone", "--checkpoints", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--allocation", type=Path)
    parser.add_argument("--match", type=Path, help="size that the ranks are solved for")
    parser.add_argument("--transfer", type=Path)
    parser.add_argument("--subset", type=Path, help="rows that a parent is weighed on")
    parser.add_argument("--states", nargs="*", type=Path, help="folders named after their tasks")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", default="auto", help="key loader.workers of the configuration")
    parser.add_argument(
        "--report-to", default="none", choices=("none", *TRACKERS), help="key training.report_to"
    )
    parser.add_argument("--gpu-memory", default="auto", help="gigabytes: key gpus.memory")
    return parser.parse_args(argv)


def _weigh(
    args: argparse.Namespace, backbone: Backbone, states: dict[str, Path], used: dict[str, Any]
) -> dict[str, Any] | None:
    """What ``training.json`` says of the parent, if the run weighs parents and there is one.

    Raises:
        InputError: no rows to weigh it on.
    """
    from stages.core.experts.weighing import weigh

    if not (args.transfer and states and used["transfer"]["accept"] == "lower_loss"):
        return None
    if not args.subset:
        raise InputError("transfer.accept is 'lower_loss': name the task's subset with --subset.")
    rows = artifacts.read_table("data", args.subset).to_pylist()
    [(parent, folder)] = states.items()
    found = weigh(backbone, rows, parent, folder, as_usual(used["training"]["micro_batch_size"]))
    verdict = "accepted" if found["accepted"] else "left out"
    losses = found["losses"]
    print(
        f"{args.task}: parent {parent} {verdict}; loss {losses['backbone']:.4f} without it, "
        f"{losses['beside']:.4f} with it",
        flush=True,
    )
    return found


def _train(args: argparse.Namespace, draft: Path) -> None:
    """Train as the command line says, and write the expert's folder as ``draft``."""
    method = methods.load(args.method)
    tracking = Tracking.of(args.report_to, args.out)
    keys = ("expert", "training", "budget.ratio", "method_options", "backbone")
    keys += ("transfer.accept", "transfer.learning_rate_factor") if args.transfer else ()
    used = config.slice_config(config.from_argument(args.config), *keys)
    method.settings(used)  # a wrong option stops the job before the backbone is loaded
    data = {artifacts.task_of(path): path for path in args.data}
    inputs = {"backbone": args.backbone} | {f"data/{name}": data[name] for name in data}
    states = {path.name: path for path in args.states or []}
    inputs |= {f"state/{name}": path for name, path in states.items()}
    optional = ("allocation", "match", "transfer", "subset")
    inputs |= {name: getattr(args, name) for name in optional if getattr(args, name)}
    allocation = args.allocation and decisions.read_allocation(args.allocation, args.task)
    earlier = args.tasks[: args.tasks.index(args.task)]
    transfer = args.transfer and decisions.read_transfer(args.transfer, args.task, earlier)

    from stages.core.backbone.load import load_backbone
    from stages.core.costs.fitting import room
    from stages.core.experts.job import Job
    from stages.core.training.loader import worker_count

    workers = worker_count(args.workers)
    sharding = used["training"].get("sharding", "none")
    backbone = load_backbone(args.backbone, used["backbone"], sharding=sharding)
    if allocation:
        keys_there = {slot.key for slot in backbone.slots}
        decisions.check_fit(allocation, args.allocation, keys_there, used["expert"])
    record = provenance.record(
        "train_expert",
        inputs,
        used,
        seed=args.seed,
        device=backbone.place,
        method=args.method,
    )
    job = Job(
        args.task,
        args.tasks,
        used,
        backbone.slots,
        allocation,
        transfer,
        args.match and artifacts.read_json("size", args.match)["trainable_parameters"],
        args.seed,
    )
    weighed = _weigh(args, backbone, states, used)
    if weighed and not weighed["accepted"]:
        states = {}
    if distributed.is_first():
        shutil.rmtree(draft, ignore_errors=True)
        make_folder(draft)
    with saving(args.checkpoints):
        summary = train_expert(
            method,
            backbone,
            data,
            states,
            job,
            checkpoints=args.checkpoints,
            fingerprint=record,
            out=draft,
            workers=workers,
            tracking=tracking,
            there=room(args.gpu_memory, backbone.device),
        )
    distributed.wait()  # until nobody reads the checkpoints any more
    if distributed.is_first():
        summary |= {"parent": weighed} if weighed else {}
        artifacts.write_json("training", draft / "training.json", summary)
        text = json.dumps(record, sort_keys=True, indent=2)
        with saving(draft):
            (draft / "provenance.json").write_text(text + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    draft = args.out.with_name(f".{args.out.name}.part")
    if not distributed.is_first():
        _train(args, draft)
        return
    if args.out.is_file():
        raise InputError(f"{args.out}: a file is where the expert's folder goes; move it away.")
    with only_training(args.out) as lock:
        _train(args, draft)
        lock.check()
        shutil.rmtree(args.out, ignore_errors=True)
        draft.replace(args.out)
        shutil.rmtree(args.checkpoints)


if __name__ == "__main__":
    cli.run(main)

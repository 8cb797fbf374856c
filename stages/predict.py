"""Answer a task's test rows greedily with a method: once per distinct (sample, expert set).

Reads the routes, the test rows, the backbone, its own answers (which are those to the empty set)
and the states the routes name; writes one text per distinct pair, from which every step of the
matrix is joined. A killed job goes on after its parts (``core.backbone.parts``), and several jobs
can make them: ``--shard``.

    python -m stages.predict --method dmole --task signs_ocr \\
        --routes results/pocket/seed0/dmole/routes/signs_ocr.parquet \\
        --data results/pocket/data/signs_ocr/test.parquet --backbone results/backbones/pocket \\
        --untouched results/pocket/backbone_predictions/signs_ocr.parquet \\
        --states results/pocket/seed0/dmole/experts/signs_ocr \\
        --config workflow/config/pocket.yaml \\
        --out results/pocket/seed0/dmole/predictions/signs_ocr.parquet
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.backbone.parts import WHOLE, Parts, Shard
from stages.core.base import artifacts, cli, config, distributed, provenance, stopping
from stages.core.base.errors import InputError, unknown
from stages.methods import registry as methods

if TYPE_CHECKING:
    from stages.core.backbone.load import Backbone
    from stages.methods.base import Method

Sets = dict[tuple[str, ...], list[str]]  # expert set -> sample ids, both in order of appearance


def distinct_sets(routes: Iterable[dict[str, Any]]) -> Sets:
    """The samples that each expert set answers, every pair once."""
    sets: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for row in routes:
        sets[tuple(row["experts"])][row["sample_id"]] = None
    return {names: list(ids) for names, ids in sets.items()}


def untouched_answers(path: Path, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The backbone's own answers to these samples, from the file of ``predict_backbone``.

    Raises:
        InputError: a sample without answer.
    """
    rows = {row["sample_id"]: row for row in artifacts.read_table("predictions", path).to_pylist()}
    for name in ids:
        if name not in rows:
            raise InputError(f"{path}: no answer to sample {name!r}; make the file again.")
    return [rows[name] for name in ids]


def predict(
    method: Method,
    backbone: Backbone,
    rows: dict[str, dict[str, Any]],
    sets: Sets,
    states: dict[str, Path],
    parts: Parts,
    *,
    limits: dict[str, int],
    batch_size: int | str,
    there: float | None = None,
) -> list[dict[str, Any]]:
    """Answers for every (sample, expert set): rows of ``artifacts.PREDICTIONS``; of a shard, its
    own and those that were there.

    Args:
        rows: test rows by sample id.
        parts: answers that an earlier job gave; takes those of this one.
        limits: ``max_new_tokens`` and ``min_new_tokens``.
        batch_size: a number, or ``auto``.
        there: bytes of the GPU, None on a CPU.
    """
    from tqdm import tqdm

    from stages.core.backbone.decoding import answer_rows
    from stages.core.costs.fitting import prediction_batch

    model = method.answering(backbone, states)
    left = sum(len(distributed.mine(parts.left(names, ids))) for names, ids in sets.items())
    total = left // parts.shard.count
    answers = []
    with tqdm(total=total, unit="sample", mininterval=5, disable=not distributed.is_first()) as bar:
        for names, ids in sets.items():
            part, known, keep = [rows[i] for i in ids], parts.known(names), parts.keeper(names, bar)
            with model.using(list(names)) as active:
                size = prediction_batch(backbone, active, part, limits, batch_size, there)
                found = answer_rows(
                    backbone, active, part, limits, size, known, keep, parts.shard.share
                )
            done = [name for name in ids if name in found]
            answers += [{"sample_id": i, "experts": list(names), "text": found[i]} for i in done]
    return answers


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--task", required=True)
    for flag in ("--routes", "--data", "--backbone", "--untouched", "--out"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--states", nargs="*", type=Path, help="folders named after their tasks")
    parser.add_argument("--shard", type=Shard.of, default=WHOLE, help="such as 2/4: second of four")
    parser.add_argument("--done", type=Path, help="made when a shard's parts are there, not --out")
    parser.add_argument("--workers", default="auto", help="key loader.workers of the configuration")
    parser.add_argument("--gpu-memory", default="auto", help="gigabytes: key gpus.memory")
    args = parser.parse_args(argv)
    method = methods.load(args.method)
    keys = ("prediction.batch_size", "backbone")
    used = config.slice_config(config.from_argument(args.config), *keys)
    task = artifacts.task_record(args.data)
    if task["name"] != args.task:
        raise InputError(f"{args.data}: holds task {task['name']!r}, not {args.task!r}.")
    rows = {row["sample_id"]: row for row in artifacts.read_table("data", args.data).to_pylist()}
    sets = distinct_sets(artifacts.read_table("routes", args.routes).to_pylist())
    known = untouched_answers(args.untouched, sets.pop((), []))
    given = {path.name: path for path in args.states or []}
    wanted = sorted({name for names in sets for name in names})
    for name in wanted:
        if name not in given:
            raise unknown("state", name, given, str(args.routes))

    inputs = {"routes": args.routes, "data": args.data, "backbone": args.backbone}
    inputs |= {"untouched": args.untouched} | {f"state/{name}": given[name] for name in wanted}
    record = partial(provenance.record, "predict", inputs, used, method=args.method)
    write = partial(
        artifacts.write_table, "predictions", args.out, task=args.task, method=args.method
    )
    if not sets:
        if args.done:
            args.done.touch()
        elif distributed.is_first():
            write(known, provenance=record())
        return
    from stages.core.backbone.load import load_backbone
    from stages.core.costs import fitting
    from stages.core.training.loader import worker_count

    backbone = load_backbone(args.backbone, used["backbone"])
    backbone.workers = worker_count(args.workers)
    origin = record(device=backbone.place)
    with stopping.deferred() as told, Parts(args.out, origin, told, args.shard) as parts:
        found = predict(
            method,
            backbone,
            rows,
            sets,
            {name: given[name] for name in wanted},
            parts,
            limits={key: task[key] for key in ("max_new_tokens", "min_new_tokens")},
            batch_size=used["prediction"]["batch_size"],
            there=fitting.room(args.gpu_memory, backbone.device),
        )
    if args.done:
        parts.finish(args.done)
    elif distributed.is_first():
        write(known + found, provenance=origin)
        parts.remove()


if __name__ == "__main__":
    cli.run(main)

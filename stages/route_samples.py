"""Decide for every test sample and step which experts answer it (paper, Eqs. 10-12).

Reads   data/{task}/test.parquet (sample ids); for methods that route by threshold also
        features/{task}.parquet (test rows), routers/*.{safetensors,json} of all tasks and, under
        ``routing.second: parent``, transfers/*.json of all tasks or, where training weighs a parent
        (``transfer.accept``), experts/*/training.json
Writes  routes/{task}.parquet: one row per sample and step 0..N (0 = the pretrained backbone)
Config  routing, for methods that route by threshold; prediction.steps, for the others

    python -m stages.route_samples --method zero_shot --task kvqa --tasks iconqa kvqa \\
        --data results/pocket/data/kvqa/test.parquet --config workflow/config/pocket.yaml \\
        --out routes.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, config, provenance
from stages.core.base.errors import InputError, unknown
from stages.core.dmole.decisions import read_transfer
from stages.core.experts.weighing import parent_beside
from stages.methods import registry as methods

if TYPE_CHECKING:
    import numpy as np

    from stages.methods.base import Method


def route_static(
    method: Method, task: str, tasks: Sequence[str], sample_ids: Sequence[str], which: str = "all"
) -> Iterator[dict[str, Any]]:
    """Rows of a method that gives every sample of a step the same experts.

    A step at which the method has no state for the task has no rows.

    Args:
        which: steps, the config key ``prediction.steps``.
    """
    unrouted = {"best_task": None, "ratio": None, "n_under": None}
    for step in method.asked_after(task, list(tasks), which):
        experts = method.active(step, task, list(tasks))
        if experts is not None:
            for sample_id in sample_ids:
                yield {"sample_id": sample_id, "step": step, "experts": experts, **unrouted}


def route_by_threshold(
    losses: np.ndarray,
    thresholds: Mapping[str, float],
    sample_ids: Sequence[str],
    routing: Mapping[str, Any],
    parents: Mapping[str, str | None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows of a method that routes by reconstruction loss.

    Args:
        losses: (samples, tasks), the loss under each task's router.
        thresholds: by task, in stream order; all are multiplied by ``routing.threshold_scale``.
        sample_ids: one per row of ``losses``.
        routing: the config key of this name.
        parents: transfer parent of each task, for ``routing.second: parent``.
    """
    from stages.core.dmole.routing import Rule

    rule = Rule.of(thresholds, routing, parents)
    for step in range(len(thresholds) + 1):
        for sample_id, route in zip(sample_ids, rule.routes(losses, step), strict=True):
            yield {"sample_id": sample_id, "step": step, **vars(route)}


def _routed_rows(args: argparse.Namespace, routing: Mapping[str, Any], ids: list[str]) -> Iterator:
    """Read features, routers and thresholds, and route by them."""
    import numpy as np

    from stages.core.dmole import routers

    for flag in ("features", "routers", "thresholds"):
        if not getattr(args, flag):
            raise InputError(f"method {args.method!r} routes by threshold and needs --{flag}.")
    features = routers.read_features(args.features)
    if features.sample_ids != ids:
        raise InputError(
            f"{args.features} and {args.data} do not list the same samples in the same order; "
            "extract the features again."
        )
    models = routers.load_all(cli.paths(args.routers), args.tasks, features, args.features)
    thresholds = routers.read_thresholds(cli.paths(args.thresholds), args.tasks)
    losses = np.stack([routers.losses(model, features.z) for model in models], axis=1)
    parents = _parents(args) if routing["second"] == "parent" else None
    return route_by_threshold(losses, thresholds, ids, routing, parents)


def _parents(args: argparse.Namespace) -> dict[str, str | None]:
    """Parent of every task: as training accepted it where experts are given, else as chosen.

    Raises:
        InputError: a task without a file, or a parent that is not learnt before it.
    """
    if args.experts:
        folders = zip(args.tasks, cli.paths(args.experts), strict=True)
        return {task: parent_beside(folder, task) for task, folder in folders}
    files = cli.paths(args.transfers)
    if missing := args.tasks[len(files) :]:
        raise InputError(f"routing.second is 'parent': --transfers lacks {', '.join(missing)}.")
    return {
        task: read_transfer(path, task, args.tasks[:i])["parent"]
        for i, (task, path) in enumerate(zip(args.tasks, files, strict=True))
    }


def _inputs(args: argparse.Namespace) -> dict[str, Path]:
    """All input files by name, for the provenance record."""
    found = {"data": args.data} | ({"features": args.features} if args.features else {})
    for flag in ("routers", "thresholds", "transfers", "experts"):
        files = cli.paths(getattr(args, flag))
        found |= {f"{flag}/{task}": path for task, path in zip(args.tasks, files, strict=False)}
    return found


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--task", required=True, help="task whose test samples are routed")
    parser.add_argument("--tasks", nargs="+", required=True, help="all tasks, in stream order")
    parser.add_argument("--data", type=Path, required=True, help="test rows of the task")
    parser.add_argument("--features", type=Path, help="features of the test rows")
    parser.add_argument("--routers", nargs="*", help="routers of all tasks, in stream order")
    parser.add_argument("--thresholds", nargs="*", help="their JSON files, in the same order")
    parser.add_argument("--transfers", nargs="*", help="transfer files of all tasks, likewise")
    parser.add_argument("--experts", nargs="*", help="experts of all tasks, if they say the parent")
    parser.add_argument("--out", type=Path, required=True, help="routes to write")
    args = parser.parse_args(argv)
    if args.task not in args.tasks:
        raise unknown("task", args.task, args.tasks, "--task")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _parse(argv)
    method = methods.load(args.method)
    used = config.slice_config(config.from_argument(args.config), method.routing_key)
    if (found := artifacts.task_of(args.data)) != args.task:
        raise InputError(f"{args.data}: rows of task {found!r}, expected {args.task!r}.")
    ids = artifacts.read_table("data", args.data, ["sample_id"])["sample_id"].to_pylist()
    if method.routing == "threshold":
        rows = _routed_rows(args, used["routing"], ids)
    else:
        steps = used["prediction"]["steps"]
        rows = route_static(method, args.task, args.tasks, ids, steps)
    artifacts.write_table(
        "routes",
        args.out,
        rows,
        task=args.task,
        method=args.method,
        provenance=provenance.record("route_samples", _inputs(args), used, method=args.method),
    )


if __name__ == "__main__":
    cli.run(main)

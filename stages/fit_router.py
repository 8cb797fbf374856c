"""Fit the router of one task and its threshold: an autoencoder of its features (Eqs. 8-9), the
features themselves as neighbours, or their mean (``router.kind``).

Reads   features/{task}.parquet (rows of the subset)
Writes  routers/{task}.safetensors: the autoencoder, the neighbours, or the mean
        routers/{task}.json: the threshold, how it came about, and quantiles of the losses on rows
        inside and outside the fit. ``threshold`` may be edited there.
Config  router, threshold

    python -m stages.fit_router --features results/pocket/seed0/features/iconqa.parquet --seed 0 \\
        --config workflow/config/pocket.yaml --out-weights router.safetensors --out-json router.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, config, edits, provenance
from stages.core.base.errors import InputError

OF_WEIGHTS = ("router", "threshold.quantile")  # keys; another factor gives the same bytes

if TYPE_CHECKING:
    import numpy as np

    from stages.core.dmole.autoencoder import Autoencoder
    from stages.core.dmole.neighbours import Neighbours
    from stages.core.dmole.prototype import Prototype
    from stages.core.dmole.routers import Features


def fit_router(
    z: np.ndarray,
    task: str,
    seed: int,
    *,
    router: Mapping[str, Any],
    threshold: Mapping[str, Any],
) -> tuple[Autoencoder, dict[str, Any]]:
    """The autoencoder of one task and the content of its JSON, without provenance.

    The autoencoder is fitted to all rows in use, whatever the calibration. The threshold is
    ``threshold.factor`` times the ``threshold.quantile`` of the losses of rows that the
    autoencoder in question did not see (``cross_fit``), or of the rows it was fitted to
    (``train``, the paper read literally).

    Args:
        z: float32 (n, d), feature rows of the task.
        task: its name; with ``seed`` it fixes every draw.
        seed: seed of the run.
        router, threshold: the config keys of these names.

    Raises:
        InputError: fewer rows than folds, or a fit that diverged.
    """
    import numpy as np

    from stages.core.dmole import autoencoder

    random = np.random.default_rng([seed, *task.encode()])
    final_stream, fold_stream = random.spawn(2)
    if router["samples"] is not None and router["samples"] < len(z):
        z = z[np.sort(random.choice(len(z), router["samples"], replace=False))]
    steps = autoencoder.n_steps(len(z), router)
    model = autoencoder.fit(z, task, router, steps, final_stream)
    inside, outside = autoencoder.losses(model, z), None
    if threshold["calibration"] == "cross_fit":
        outside = autoencoder.out_of_fold_losses(
            z, task, router, steps, threshold["folds"], fold_stream
        )
    calibrating = inside if outside is None else outside
    if not (np.isfinite(inside).all() and np.isfinite(calibrating).all()):
        raise InputError(f"task {task!r}: the autoencoder diverged; lower router.learning_rate.")
    value = float(np.quantile(calibrating, threshold["quantile"]))
    return model, {
        "task": task,
        "kind": "autoencoder",
        "numbers": sum(parameter.numel() for parameter in model.parameters()),
        "n": len(z),
        "dim": model.dim,
        "hidden": router["hidden"],
        "output": router["output"],
        "threshold": threshold["factor"] * value,
        "calibration": {
            "method": threshold["calibration"],
            "folds": threshold["folds"] if outside is not None else None,
            "quantile": threshold["quantile"],
            "factor": threshold["factor"],
            "quantile_value": value,
        },
        "losses": {
            "in_fold": autoencoder.summary(inside),
            "out_of_fold": None if outside is None else autoencoder.summary(outside),
        },
        "steps": steps,
    }


def fit_neighbours(
    features: Features, seed: int, *, router: Mapping[str, Any], threshold: Mapping[str, Any]
) -> tuple[Neighbours, dict[str, Any]]:
    """The neighbours of one task and the content of its JSON, without provenance.

    The threshold is ``threshold.factor`` times the ``threshold.quantile`` of the losses of the
    task's rows, each left out of the images in turn.

    Raises:
        InputError: features of another style, or too few rows.
    """
    from stages.core.dmole import neighbours

    task, z = features.task, features.z
    if features.vision_dim is None:
        raise InputError(f"task {task!r}: the features do not say how wide their image half is.")
    wordings = features.wordings.reshape(len(z), -1, z.shape[1])
    chosen = _chosen(len(z), task, seed, router["samples"])
    z, wordings = z[chosen], wordings[chosen]
    model = neighbours.fit(z, wordings, features.vision_dim, task, threshold["quantile"])
    sizes = {
        "wordings": len(model.texts),
        "numbers": model.images.size + model.texts.size,
    }
    return model, _left_out(model, len(z), neighbours.own_losses(model), threshold) | sizes


def fit_prototype(
    z: np.ndarray, task: str, seed: int, *, router: Mapping[str, Any], threshold: Mapping[str, Any]
) -> tuple[Prototype, dict[str, Any]]:
    """The mean of a task's features ``z`` (n, d) and the content of its JSON, without provenance.

    The threshold is as for neighbours.

    Raises:
        InputError: one row.
    """
    from stages.core.dmole import prototype

    z = z[_chosen(len(z), task, seed, router["samples"])]
    model = prototype.fit(z, task)
    return model, _left_out(model, len(z), prototype.own_losses(model, z), threshold)


def _chosen(n: int, task: str, seed: int, samples: int | None) -> np.ndarray:
    """Which of n rows are used, in order: all, or ``samples`` of them."""
    import numpy as np

    if samples is None or samples >= n:
        return np.arange(n)
    random = np.random.default_rng([seed, *task.encode()])
    return np.sort(random.choice(n, samples, replace=False))


def _left_out(
    model: Neighbours | Prototype, n: int, own: np.ndarray, threshold: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON of a router whose threshold rests on losses ``own`` of its n rows, each left out."""
    import numpy as np

    from stages.core.dmole import autoencoder

    # where all rows are the same, the least that single precision tells apart
    value = max(float(np.quantile(own, threshold["quantile"])), float(np.finfo(np.float32).eps))
    return {
        "task": model.task,
        "kind": model.kind,
        "n": n,
        "dim": model.dim,
        "numbers": model.dim,
        "threshold": threshold["factor"] * value,
        "calibration": {
            "method": "left_out",
            "folds": None,
            "quantile": threshold["quantile"],
            "factor": threshold["factor"],
            "quantile_value": value,
        },
        "losses": {"in_fold": None, "out_of_fold": autoencoder.summary(own)},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--features", type=Path, required=True, help="subset features of the task")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out-weights", type=Path, required=True, help="autoencoder to write")
    parser.add_argument("--out-json", type=Path, required=True, help="threshold file to write")
    args = parser.parse_args(argv)
    edits.refuse_edited(args.out_json)
    used = config.slice_config(config.from_argument(args.config), "router", "threshold")

    from stages.core.dmole import routers

    rows = routers.read_features(args.features)
    match used["router"]["kind"]:
        case "neighbours":
            model, content = fit_neighbours(rows, args.seed, **used)
        case "prototype":
            model, content = fit_prototype(rows.z, rows.task, args.seed, **used)
        case _:
            model, content = fit_router(rows.z, rows.task, args.seed, **used)
    origin = partial(provenance.record, "fit_router", {"features": args.features}, seed=args.seed)
    content["provenance"] = origin(config=used)
    artifacts.write_json("router", args.out_json, content)
    routers.save(model, args.out_weights, origin(config=config.slice_config(used, *OF_WEIGHTS)))


if __name__ == "__main__":
    cli.run(main)

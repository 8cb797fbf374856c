"""Choose the earlier task whose expert a new one is trained beside (routing at training time).

The parent is the earlier task whose router gives the new task's rows the lowest mean loss; of equal
ones, the earliest. The first task has none. With ``transfer.require_threshold``, only a task whose
threshold is not exceeded by this loss can be the parent.

Reads   features/{task}.parquet (rows of the subset), routers/*.safetensors of the earlier tasks;
        routers/*.json too if thresholds are required
Writes  transfers/{task}.json: the mean loss under every earlier router, and the parent
Config  transfer.enabled, transfer.require_threshold

    python -m stages.choose_parent --features features/kvqa.parquet --task kvqa \\
        --earlier iconqa vizwiz --routers routers/iconqa.safetensors routers/vizwiz.safetensors \\
        --config workflow/config/pocket.yaml --out transfer.json
"""

from collections.abc import Sequence
from pathlib import Path

from stages.core.base import artifacts, cli, config, edits, provenance
from stages.core.base.errors import InputError
from stages.core.dmole.parent import choose_parent


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--features", type=Path, required=True, help="subset features of the task")
    parser.add_argument("--task", required=True)
    parser.add_argument("--earlier", nargs="*", default=[], help="earlier tasks, in stream order")
    parser.add_argument("--routers", nargs="*", help="their routers, in the same order")
    parser.add_argument("--thresholds", nargs="*", help="their JSON files, if thresholds count")
    parser.add_argument("--out", type=Path, required=True, help="transfer file to write")
    args = parser.parse_args(argv)
    edits.refuse_edited(args.out)
    keys = ("transfer.enabled", "transfer.require_threshold")
    used = config.slice_config(config.from_argument(args.config), *keys)
    earlier = args.earlier
    required, enabled = used["transfer"]["require_threshold"], used["transfer"]["enabled"]
    router_files, threshold_files = cli.paths(args.routers), cli.paths(args.thresholds)

    from stages.core.dmole import routers

    rows = routers.read_features(args.features)
    if rows.task != args.task:
        raise InputError(
            f"{args.features}: features of task {rows.task!r}, expected {args.task!r}."
        )
    models = routers.load_all(router_files, earlier, rows, args.features)
    losses = {model.task: float(routers.losses(model, rows.z).mean()) for model in models}
    thresholds = routers.read_thresholds(threshold_files, earlier) if required else None
    inputs = {"features": args.features}
    inputs |= {f"router/{task}": path for task, path in zip(earlier, router_files, strict=True)}
    if required:
        inputs |= {f"threshold/{t}": p for t, p in zip(earlier, threshold_files, strict=True)}
    artifacts.write_json(
        "transfer",
        args.out,
        {
            "task": args.task,
            "step": len(earlier) + 1,
            "parent": choose_parent(losses, thresholds, enabled),
            "losses": losses,
            "require_threshold": required,
            "thresholds": thresholds,
            "provenance": provenance.record("choose_parent", inputs, used),
        },
    )


if __name__ == "__main__":
    cli.run(main)

"""A plan as tables for a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stages.core.costs.fitting import SHARE
from stages.core.costs.flops import PARTS, total
from stages.core.costs.whole import fullness
from stages.tools.display import STRONG, table

GB = 1e9
MEMORY = {
    "weights": "weights",
    "experts": "experts",
    "gradients": "gradients",
    "optimiser": "optimiser",
    "keys, values": "caches",
    "activations": "activations",
    "all": "total",
}


def tables(plan: Mapping[str, Any]) -> Iterator[RenderableType]:
    """All tables of a plan."""
    machine, backbone = plan["machine"], plan["backbone"]
    yield Text(
        f"{plan['method']} on {backbone['name']}: {backbone['parameters'] / 1e9:.2f} billion "
        f"weights, {backbone['slots']} slots; {machine['gpus']} x {machine['gpu']} per training "
        f"job, one for other jobs, at {100 * machine['mfu']:g} % of the peak",
        STRONG,
    )
    if not backbone["tokenizer"]:
        yield f"{backbone['name']}: no tokenizer is there, four characters are taken for a token"
    yield _rows(plan["tasks"])
    yield from _beyond(plan["tasks"])
    yield _stages(plan["tasks"])
    yield _training(plan)
    yield _sample(plan["tasks"])
    yield from _memory(plan["tasks"], machine["memory"])
    yield from _other_keys(plan["other_keys"], machine)
    yield from _jobs(plan["jobs"])
    yield _path(plan["path"])
    if plan["kilowatt_hours"]:
        yield (
            f"energy at most {figure(plan['kilowatt_hours'])} kWh: GPU-hours of all stages at the "
            "most that a board takes; hosts and cooling come on top"
        )


def figure(value: float) -> str:
    """Three significant digits, all of them before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def _rows(tasks: list[dict[str, Any]]) -> Table:
    made = table("task", "rows", "from", "tiles", "tokens", "answer", "epochs", "batch", "steps")
    for column in ("test rows", "tiles", "tokens", "answer"):
        made.add_column(column, justify="right")
    for task in tasks:
        train, test = task["train"], task["test"]
        made.add_row(
            task["task"],
            f"{train['rows']:,}",
            train["origin"],
            *(f"{train[key]:.1f}" for key in ("tiles", "tokens", "answer")),
            f"{task['epochs']:g}",
            str(task["batch_size"]),
            f"{task['steps']:,}",
            f"{test['rows']:,}",
            *(f"{test[key]:.1f}" for key in ("tiles", "prompt", "answer")),
        )
    rows, steps = (sum(found) for found in zip(*_counts(tasks), strict=True))
    made.add_row("all", f"{rows:,}", *[""] * 6, f"{steps:,}", *[""] * 4, style=STRONG)
    return made


def _beyond(tasks: list[dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for split in ("train", "test"):
            if share := task[split]["beyond"]:
                yield (
                    f"{task['task']}, {split}: {100 * share:.2g} % of its {task[split]['rows']:,} "
                    "rows are longer than the backbone's context, and the run will refuse them; "
                    "shorten them, lower backbone.max_tiles, or cut training rows with "
                    "backbone.max_length (cmit check-data --backbone names them)"
                )


def _counts(tasks: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(task["train"]["rows"], task["steps"]) for task in tasks]


def _stages(tasks: list[dict[str, Any]]) -> Table:
    stages = list(dict.fromkeys(stage for task in tasks for stage in task["stages"]))
    made = table("PFLOP (GPU-hours)", *stages, "all")
    for task in tasks:
        found = [task["stages"].get(stage) for stage in stages]
        made.add_row(task["task"], *map(_cost, found), _cost(_sum(found)))
    sums = [_sum([task["stages"].get(stage) for task in tasks]) for stage in stages]
    made.add_row("all", *map(_cost, sums), _cost(_sum(sums)), style=STRONG)
    return made


def _sum(found: list[dict[str, float] | None]) -> dict[str, float]:
    there = [item for item in found if item]
    return {key: sum(item[key] for item in there) for key in ("flops", "gpu_hours")}


def _cost(found: Mapping[str, float] | None) -> str:
    if not found:
        return "·"
    return f"{figure(found['flops'] / 1e15)} ({figure(found['gpu_hours'])})"


def _training(plan: Mapping[str, Any]) -> Table:
    made = table("training", "hours", "GPU-hours", "published hours", "GPU-hours", "implied MFU")
    sums = [0.0, 0.0, 0.0, 0.0]
    for task in plan["tasks"]:
        published, hours = task["published"], task["training_hours"]
        mine = task["stages"].get("train_expert", {"gpu_hours": 0.0})["gpu_hours"]
        theirs = (published["hours"], published["hours"] * published["gpus"]) if published else ()
        implied = f"{100 * task['implied_mfu']:.0f} %" if published else "·"
        cells = [*map(figure, (hours, mine, *theirs)), *([] if theirs else ["·", "·"])]
        made.add_row(task["task"], *cells, implied)
        sums = [a + b for a, b in zip(sums, (hours, mine, *(theirs or (0, 0))), strict=True)]
    made.add_row("all", *(figure(value) if value else "·" for value in sums), "", style=STRONG)
    return made


def _sample(tasks: list[dict[str, Any]]) -> Table:
    """Operations of one training sample of the longest task, by part."""
    made = table("TFLOP of a training sample", *PARTS, "all")
    longest = max(tasks, key=lambda task: task["train"]["tokens"])
    for stage in ("profile_gradients", "train_expert"):
        for direction in ("forward", "backward"):
            found = longest["stages"].get(stage, {}).get(f"{direction}_per_sample")
            if found:
                cells = [*(found[part] for part in PARTS), total(found)]
                name = f"{longest['task']}, {stage}, {direction}"
                made.add_row(name, *(figure(cell / 1e12) for cell in cells))
    return made


def _memory(tasks: list[dict[str, Any]], gpu: float) -> Iterator[RenderableType]:
    """Each stage at its fullest task."""
    made = table(f"GB of the GPU's {gpu / GB:g}", "samples", "checkpointing", *MEMORY, "", left=1)
    for stage in dict.fromkeys(stage for task in tasks for stage in task["stages"]):
        found = [task["stages"][stage] for task in tasks if stage in task["stages"]]
        worst = max(found, key=fullness)
        cells = (figure(worst["memory"][part] / GB) if worst["memory"][part] else "·"
                 for part in MEMORY.values())  # fmt: skip
        again = "on" if worst["checkpointing"] else "·"
        fits = "fits" if all(entry["fits"] for entry in found) else "does not fit"
        made.add_row(stage, str(worst["at_a_time"]), again, *cells, fits)
    yield made
    yield (
        "of its fullest task, with rows of its mean size. CUDA itself and work space come on top: "
        f"automatic batch sizes fill {100 * SHARE:g} % at most. A job looks at its longest row, "
        "and halves its batch where memory does not suffice.\n"
    )


def _other_keys(found: list[dict[str, Any]], machine: Mapping[str, Any]) -> Iterator[Table]:
    """The fullest training with each of the keys that lower its memory."""
    if not found:
        return
    title = f"train_expert, GB of {machine['memory'] / GB:g}"
    made = table(title, "samples", "checkpointing", "weights", "all", "", left=1)
    for entry in found:
        spread = f" over {machine['gpus']} GPUs" if entry["value"] == "fsdp" else ""
        value = "on" if entry["value"] is True else entry["value"]
        made.add_row(
            f"{entry['key']}: {value}{spread}" if entry["key"] else "as configured",
            str(entry["at_a_time"]),
            "on" if entry["checkpointing"] else "·",
            figure(entry["memory"]["weights"] / GB),
            figure(entry["memory"]["total"] / GB),
            "fits" if entry["fits"] else "does not fit",
        )
    yield made


def _path(path: Mapping[str, Any]) -> str:
    hours = {part: figure(value) for part, value in path["hours"].items()}
    return (
        f"from start to end {hours['all']} hours where no job waits for a free GPU: profile and "
        f"features {hours['before']}, training {hours['training']}, the last answers "
        f"{hours['answers']}, queue {hours['queue']}. Most of it: {path['bottleneck']}."
    )


def _jobs(jobs: Mapping[str, Any]) -> Iterator[RenderableType]:
    made = table("SLURM jobs of all methods and seeds", "")
    for rule, count in jobs["by_rule"].items():
        made.add_row(rule, str(count))
    made.add_row("all", str(jobs["total"]), style=STRONG)
    yield made
    yield (
        f"at {jobs['minutes_each']:g} minutes in the queue: {jobs['waiting_in_all'] / 60:.1f} "
        f"hours over all jobs; {jobs['waiting_on_longest_chain'] / 60:.1f} hours on the longest "
        f"chain of {jobs['longest_chain']} jobs"
    )

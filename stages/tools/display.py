"""Artefacts as text for a terminal or a pipe: one function per kind, each yields renderables.

Nothing here opens a file. Marks and bars carry all that colours show, so that a pipe loses nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isclose, prod
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from stages.core.backbone.slots import KINDS, TOWERS

LEVELS = "▁▂▃▄▅▆▇█"
PERCENTILES = ("p01", "p05", "p10", "p25", "p50", "p75", "p90", "p95", "p99")
BAR = 40  # characters of the longest bar
CELL = 40  # characters of the longest cell

STRONG = "bold cyan"
FAINT = "dim"


def console() -> Console:
    """A console that prints texts as they are; a pipe has no edge to wrap at."""
    made = Console(markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made = Console(markup=False, highlight=False, emoji=False, width=200)
    return made


def table(*columns: str, left: int = 1) -> Table:
    """An empty table whose first ``left`` columns are flush left, the others flush right.

    Where the terminal is too narrow, all columns but the first are wrapped.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        justify = "left" if place < left else "right"
        made.add_column(column, justify=justify, no_wrap=place == 0, overflow="fold")
    return made


def number(value: float | None) -> str:
    """Four significant digits, or a dot for no value."""
    return "·" if value is None else f"{value:.4g}"


def level(value: float, highest: float) -> str:
    """One of eight blocks: how high a value is beside the highest."""
    share = value / highest if highest > 0 else 0
    return LEVELS[min(int(share * len(LEVELS)), len(LEVELS) - 1)]


def short(value: Any, width: int = CELL) -> str:
    """A value on one line of bounded length; bytes by their size, vectors by length and start."""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    if isinstance(value, list) and len(value) > 8 and isinstance(value[0], float):
        text = f"[{', '.join(map(number, value[:4]))}, … {len(value)} values]"
    elif isinstance(value, list):
        text = f"[{', '.join(short(item, width) for item in value)}]"
    elif isinstance(value, dict):
        text = ", ".join(f"{key}: {short(item, width)}" for key, item in value.items())
    elif isinstance(value, float):
        text = number(value)
    else:
        text = "·" if value is None else str(value).replace("\n", "⏎")
    return text if len(text) <= width else text[: width - 1] + "…"


def provenance(record: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Where an artefact comes from."""
    made = table("provenance", "", left=2)
    for key in ("stage", "method", "seed", "device", "source"):
        if record.get(key) is not None:
            made.add_row(key, str(record[key]))
    for name, digest in sorted(record.get("inputs", {}).items()):
        made.add_row(f"input {name}", f"sha256 {digest[:16]}…")
    for key, value in sorted(record.get("config", {}).items()):
        made.add_row(f"config {key}", short(value, 140))
    made.add_row("versions", short(record.get("versions", {}), 140))
    yield made


# --- JSON ----------------------------------------------------------------------------------------


def allocation(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The slots as a grid, blocks downwards from the input."""
    got = sum(slot["allocated"] for slot in content["slots"])
    yield Text(f"Allocation of task {content['task']}, strategy {content['strategy']}", STRONG)
    yield (
        f"{got} experts in {content['total_slots']} slots (budget {content['budget']} = ratio "
        f"{content['ratio']:g}), rank {content['expert']['rank']}, alpha "
        f"{content['expert']['alpha']:g}, {content['trainable_parameters']:,} trainable parameters"
    )
    yield f"switches: {short(content['switches'], 100)}"
    towers = table("tower", "score", "share", "slots", "budget")
    for name in TOWERS:
        part = content["towers"][name]
        share = f"{100 * part['ratio']:.1f} %"
        cells = (number(part["score"]), share, str(part["slots"]), str(part["budget"]))
        towers.add_row(name, *cells)
    yield towers
    yield _slot_grid(content["slots"])
    yield f"■ expert  □ none  {LEVELS} score beside the highest of its tower"


def _slot_grid(slots: Sequence[Mapping[str, Any]]) -> Table:
    columns = [(tower, kind) for tower in TOWERS for kind in KINDS]
    found = {(slot["tower"], slot["slot"], slot["block"]): slot for slot in slots}
    highest = {m: max((s["score"] for s in slots if s["tower"] == m), default=0) for m in TOWERS}
    grid = table("block", *(f"{tower} {kind}" for tower, kind in columns), left=5)
    for block in sorted({slot["block"] for slot in slots}):
        cells = []
        for tower, kind in columns:
            slot = found.get((tower, kind, block))
            cells.append(_slot_cell(slot, highest[tower]) if slot else Text(""))
        grid.add_row(str(block), *cells)
    return grid


def _slot_cell(slot: Mapping[str, Any], highest: float) -> Text:
    mark, style = ("■", STRONG) if slot["allocated"] else ("□", FAINT)
    return Text(f"{mark} {level(slot['score'], highest)} {number(slot['score'])}", style)


def router(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The threshold, how it came about, and quantiles of the losses beside it."""
    fitted, threshold = content["calibration"], content["threshold"]
    computed = fitted["factor"] * fitted["quantile_value"]
    yield Text(f"Router of task {content['task']}", STRONG)
    dim, rows = content["dim"], "its rows, each left out"
    if content.get("kind") == "prototype":
        yield f"prototype: the mean of {content['n']} rows, {dim} numbers"
    elif content.get("kind") == "neighbours":
        yield f"neighbours: {content['n']} images, {content['wordings']} wordings, {dim} numbers"
    else:
        yield (
            f"autoencoder {dim} → {content['hidden']} → {dim} ({content['output']}), "
            f"{content['steps']:,} steps on {content['n']} rows"
        )
        folds = fitted["folds"]
        rows = f"left-out rows ({folds} folds)" if folds else "the rows of the fit"
    yield (
        f"threshold {number(computed)} = {fitted['factor']:g} × {number(fitted['quantile_value'])} "
        f"(the {fitted['quantile']:g} quantile of the losses of {rows})"
    )
    if not isclose(threshold, computed, rel_tol=1e-6):
        yield Text(f"but edited by hand: the threshold in force is {number(threshold)}", STRONG)
    inside, outside = (content["losses"][name] or {} for name in ("in_fold", "out_of_fold"))
    made = table("loss", "in fold", "/ threshold", "out of fold", "/ threshold")
    for key in ("min", *PERCENTILES, "max", "mean", "std"):
        cells = []
        for value in (inside.get(key), outside.get(key)):
            cells += [number(value), number(value if value is None else value / threshold)]
        made.add_row(key, *cells)
    yield made


def transfer(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Mean loss under every earlier router, lowest first, and the parent."""
    parent, thresholds = content["parent"], content["thresholds"]
    yield Text(f"Parent of task {content['task']} (step {content['step']}): {parent}", STRONG)
    if not content["losses"]:
        yield "no earlier task"
        return
    highest = max(content["losses"].values())
    made = table("earlier task", "mean loss", "", *(["threshold"] if thresholds else []))
    made.columns[2].justify = "left"
    for task, loss in sorted(content["losses"].items(), key=lambda item: item[1]):
        bar = "█" * round(BAR * loss / highest if highest else 0)
        label = f"{task} ← parent" if task == parent else task
        limit = [number(thresholds[task])] if thresholds else []
        made.add_row(label, number(loss), bar, *limit, style=STRONG if task == parent else "")
    yield made


def metrics(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The matrix of every run, and its metrics."""
    for run in content["runs"]:
        yield Text(f"Scores of {run['method']}, seed {run['seed']}", STRONG)
        made = table("after", *run["tasks"])
        for step, row in enumerate(run["matrix"]):
            label = run["tasks"][step - 1] if step else "pretraining"
            made.add_row(label, *map(number, row))
        yield made
    made = table("metric", *(f"{run['method']}, seed {run['seed']}" for run in content["runs"]))
    for key in content["definitions"]:
        made.add_row(key, *(number(run["metrics"][key]["value"]) for run in content["runs"]))
    yield made


# --- Parquet -------------------------------------------------------------------------------------


def routes(rows: Iterable[Mapping[str, Any]], task: str, method: str) -> Iterator[RenderableType]:
    """How many samples of the task each expert set answers, step by step."""
    rows = list(rows)
    steps = sorted({row["step"] for row in rows})
    counts = Counter((tuple(row["experts"]), row["step"]) for row in rows)
    totals = Counter(row["step"] for row in rows)
    sets = Counter(tuple(row["experts"]) for row in rows)
    yield Text(f"Samples of task {task} by active experts and step, method {method}", STRONG)
    made = table("experts, best first", *(f"step {step}" for step in steps))
    for experts, _ in sorted(sets.items(), key=lambda item: (-item[1], item[0])):
        cells = [counts[experts, step] for step in steps]
        style = STRONG if experts[:1] == (task,) else ""
        label = " + ".join(experts) or "(backbone)"
        made.add_row(label, *(str(n) if n else "·" for n in cells), style=style)
    made.add_section()
    made.add_row("samples", *(str(totals[step]) for step in steps))
    if any(row["n_under"] is not None for row in rows):
        under = Counter()
        for row in rows:
            under[row["step"]] += row["n_under"]
        mean = (number(under[step] / totals[step]) for step in steps)
        made.add_row("routers that accept a sample, mean", *mean)
    yield made


def parquet_head(types: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Columns, types and the first rows, one table row per column of the file."""
    made = table("column", "type", *(f"row {i}" for i in range(len(rows))), left=2 + len(rows))
    for name, kind in types.items():
        made.add_row(name, kind.replace("element: ", ""), *(short(row[name]) for row in rows))
    yield made


# --- Weights -------------------------------------------------------------------------------------


def tensors(entries: Sequence[tuple[str, str, Sequence[int], int]]) -> Iterator[RenderableType]:
    """Name, dtype, shape and bytes of each tensor."""
    made = table("tensor", "dtype", "shape", "parameters", "bytes")
    for name, dtype, shape, size in entries:
        made.add_row(name, dtype, " × ".join(map(str, shape)), f"{prod(shape):,}", f"{size:,}")
    made.add_section()
    parameters = sum(prod(shape) for _, _, shape, _ in entries)
    total = sum(size for *_, size in entries)
    made.add_row(f"{len(entries)} tensors", "", "", f"{parameters:,}", f"{total:,}")
    yield made


def adapter(
    config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
) -> Iterator[RenderableType]:
    """A LoRA adapter: its settings, and rank and size on every linear."""
    scale = config["lora_alpha"] / config["r"]
    yield (
        f"{config['peft_type']} adapter on {config['base_model_name_or_path']}: usual rank "
        f"{config['r']}, alpha {config['lora_alpha']:g} (scale {scale:g}), dropout "
        f"{config['lora_dropout']:g}"
    )
    made = table("linear", "rank", "inputs", "outputs", "parameters")
    total = 0
    for name in sorted(key for key in shapes if key.endswith(".lora_A.weight")):
        rank, inputs = shapes[name]
        outputs = shapes[name.replace(".lora_A.", ".lora_B.")][0]
        parameters = rank * (inputs + outputs)
        linear = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        made.add_row(linear, str(rank), str(inputs), str(outputs), f"{parameters:,}")
        total += parameters
    made.add_section()
    made.add_row(f"{len(made.rows)} linears", "", "", "", f"{total:,}")
    yield made


def training(content: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Counts of a training run and the course of its loss."""
    yield (
        f"trained on {content['rows']:,} rows of {content['task']}: "
        f"{content['trainable_parameters']:,} trainable parameters"
    )
    if curve := [loss for _, loss in content["loss"]]:
        marks = "".join(level(loss, max(curve)) for loss in curve[:: len(curve) // BAR + 1])
        yield f"loss {number(curve[0])} → {number(curve[-1])}  {marks}"

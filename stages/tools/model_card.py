"""The README of an exported model: what it is, what it scores, how it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.evaluation.intervals import half_width
from stages.core.evaluation.scores import metric_label
from stages.core.evaluation.stream_metrics import FORMULAS


@dataclass(frozen=True)
class Facts:
    """What a card tells."""

    run: str
    method: str
    seed: int
    stream: str
    backbone: Mapping[str, Any]  # the config's section
    tasks: Sequence[Mapping[str, Any]]  # of the data artefacts, in the order of learning
    scores: Sequence[Mapping[str, Any]]  # rows of scores.parquet of this run and seed
    metrics: Mapping[str, Any]  # of this run and seed, as in metrics.json
    summary: Mapping[str, Any]  # of this run over all its seeds
    definitions: Mapping[str, Any]  # of the metrics
    sources: Mapping[str, Mapping[str, str]]  # of the data by task: name, version, licence
    licence: str | None  # of the backbone, as its own card says
    experts: Sequence[str]
    parent: str | None  # the task whose expert answers beside the last one
    peft: bool  # whether the experts are PEFT folders
    told: bool  # whether the method is told each question's task


def card(facts: Facts) -> str:
    """The whole README, as Markdown with the hub's front matter."""
    base = facts.backbone.get("hub_id") or facts.backbone["path"]
    revision = facts.backbone["revision"]
    return "\n\n".join(
        [
            _front(facts, base),
            f"# {facts.run} on the stream {facts.stream}, seed {facts.seed}",
            f"A frozen multimodal backbone and what the method `{facts.method}` has learnt, task "
            "after task, with the code of cmit-pipeline. `model.json` says what belongs together, "
            "`config.yaml` is the configuration of the run.",
            f"**Base model:** `{base}`" + (f" at commit `{revision}`" if revision else "")
            + f"; {_fed(facts.backbone)}. It is not part of this folder.",
            "## Tasks, in the order of learning",
            _tasks(facts),
            "## Scores",
            _matrix(facts),
            "## Metrics",
            _metrics(facts),
            "## Limits",
            _limits(facts),
            "## Licences",
            _licences(facts),
            "## How to load",
            _loading(facts, base, revision),
        ]
    ) + "\n"  # fmt: skip


def _front(facts: Facts, base: str) -> str:
    named = [f"base_model: {base}"] if facts.backbone.get("hub_id") else []
    library = ["library_name: peft"] if facts.peft else []
    tags = [f"tags: [continual-learning, multimodal, {facts.method}]"]
    return "\n".join(["---", *named, *library, "pipeline_tag: image-text-to-text", *tags, "---"])


def _fed(backbone: Mapping[str, Any]) -> str:
    """In which precision the backbone computes, and in how many parts it sees an image."""
    kinds = {"auto": "bfloat16 where the device multiplies it natively, else float32"}
    tiles = backbone["max_tiles"]
    parts = "every image in one piece" if tiles == 1 else f"an image in at most {tiles} tiles"
    return f"it computes in {kinds.get(backbone['dtype'], backbone['dtype'])}, and sees {parts}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    lines = [" | ".join(head), " | ".join(["---", *["---:"] * (len(head) - 1)])]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _tasks(facts: Facts) -> str:
    last = len(facts.tasks)
    final = {row["task"]: row for row in facts.scores if row["step"] == last}
    rows = []
    for number, task in enumerate(facts.tasks, 1):
        row = final.get(task["name"])
        score, n = ("–", "–") if row is None else (_interval(row), str(row["n"]))
        lengths = f"{task['min_new_tokens']}–{task['max_new_tokens']}"
        rows.append([f"{number} {task['name']}", metric_label(task["metric"]), score, n, lengths])
    head = ["task", "metric", "after the last step [95 % interval]", "test rows", "answer, tokens"]
    return table(head, rows)


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _matrix(facts: Facts) -> str:
    names = [task["name"] for task in facts.tasks]
    cells = {(row["step"], row["task"]): f"{row['value']:.1f}" for row in facts.scores}
    rows = []
    for step in range(len(names) + 1):
        label = f"{step} {names[step - 1]}" if step else "0 (the untouched backbone)"
        rows.append([label, *(cells.get((step, name), "–") for name in names)])
    return (
        "Percentages, CIDEr times 100; a dash was not measured. Intervals are bootstrapped over "
        "the test rows.\n\n" + table(["after step", *names], rows)
    )


def _metrics(facts: Facts) -> str:
    found, seeds, rows = facts.metrics["metrics"], len(facts.summary["seeds"]), []
    for key in sorted(found, key=[*FORMULAS, *found].index):
        value, over = found[key]["value"], facts.summary["metrics"][key]
        cells = ["–" if value is None else f"{value:.2f}"]
        if seeds > 1:
            known = over["std"] is not None
            spread = f"{over['mean']:.2f} ± {half_width(over['std'], seeds):.2f}" if known else "–"
            cells.append(spread)
        rows.append([f"`{key}`: {facts.definitions[key]['formula']}", *cells])
    several = [f"mean of {seeds} seeds ± half the 95 % interval"] if seeds > 1 else []
    note = "" if several else "One seed, hence no intervals here.\n\n"
    return note + table(["metric", f"seed {facts.seed}", *several], rows)


def _limits(facts: Facts) -> str:
    told = (
        "- It is told the task of every question, and cannot find it out.\n" if facts.told else ""
    )
    return (
        f"{told}- Questions should have the form of the task's training questions (instruction, "
        "lettered options); others were not tested.\n"
        "- The scores hold for the test rows of this stream and this backbone alone. Answers are "
        "decoded greedily.\n"
        "- Nobody has checked the answers for harm or bias."
    )


def _licences(facts: Facts) -> str:
    """What binds whoever uses or passes on the folder."""
    lines = [f"- backbone: {facts.licence or 'see its model card'}"]
    for task in facts.tasks:
        data = facts.sources.get(task["name"])
        said = f"{data['licence']} ({data['name']} {data['version']})" if data else "not recorded"
        lines.append(f"- data of {task['name']}: {said}")
    return "Those of the backbone and of the data bind:\n\n" + "\n".join(lines)


def _loading(facts: Facts, base: str, revision: str | None) -> str:
    task = f', task="{facts.tasks[0]["name"]}"' if facts.told else ""
    own = (
        "With this package, which chooses the experts itself:\n\n```python\n"
        "from stages.core.model.continual import ContinualModel\n\n"
        'model = ContinualModel.load("THIS_FOLDER")  # backbone="..." if it lies elsewhere\n'
        f'model.ask("photo.jpg", "What is it?"{task}).text\n```\n\n'
        'On the command line: `cmit ask THIS_FOLDER photo.jpg "What is it?"`.'
    )
    if not facts.peft:
        return (
            f"{own}\n\nThe states in `experts/` are mixtures with gates. PEFT has no such layer "
            "and cannot load them."
        )
    options = {"revision": revision, "dtype": facts.backbone["dtype"]}
    said = "".join(f', {k}="{v}"' for k, v in options.items() if v not in (None, "auto"))
    return (
        f"{own}\n\nWith PEFT alone, one expert for every question:\n\n```python\n"
        "from peft import PeftModel\nfrom transformers import AutoModelForImageTextToText\n\n"
        f'base = AutoModelForImageTextToText.from_pretrained("{base}"{said})\n'
        f'model = PeftModel.from_pretrained(base, "THIS_FOLDER/experts/{facts.experts[-1]}")\n'
        f"{_beside(facts.parent)}```"
    )


def _beside(parent: str | None) -> str:
    if parent is None:
        return ""
    return (
        "# this expert learnt beside another one, and answers best with it\n"
        f'model.load_adapter("THIS_FOLDER/experts/{parent}", "parent")\n'
        'model.base_model.set_adapter(["default", "parent"])\n'
    )

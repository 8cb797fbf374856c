"""Section: the stream, the settings, and every switch that differs from preset ``paper``."""

from typing import Any

from stages.core.base.config import complete, leaves, schema
from stages.core.report.page import Block, Cell, Section, Table
from stages.core.runs.results import Results

# Parts of the configuration that decide what the method does; the rest says on what and where.
SWITCHES = (
    "image",
    "subset",
    "profile",
    "budget",
    "match_size",
    "allocation",
    "features",
    "router",
    "threshold",
    "transfer",
    "routing",
    "expert",
    "training",
)


def differences(config: dict) -> list[tuple[str, Any, Any]]:
    """Switches whose value is not that of preset ``paper``: (dotted key, here, in the paper)."""
    required = {"stream": "any", "manifests": "any", "tasks": ["any"], "backbone": {"path": "any"}}
    paper = complete({**required, "preset": "paper"}, "preset paper")
    here = leaves({key: config[key] for key in SWITCHES if key in config})
    there = leaves({key: paper[key] for key in SWITCHES if key in paper})
    return [
        (key, here.get(key), there.get(key))
        for key in sorted(here | there)
        if here.get(key) != there.get(key)
    ]


def _meaning(dotted: str) -> str:
    rule = schema("config")
    for part in dotted.split("."):
        rule = rule.get("properties", {}).get(part, {})
    return rule.get("description", "")


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return str(value)


def _rows(rows: dict) -> str:
    shown = {key: n for key, n in rows.items() if n or key != "held_out"}
    return ", ".join(f"{key}: {'all' if n is None else n}" for key, n in shown.items())


def _summary(results: Results) -> Table:
    config = results.config
    backbone = config.get("backbone") or {}
    rows = {
        "Stream": config.get("stream"),
        "Tasks, in order": results.tasks,
        "Seeds": results.seeds,
        "Methods": results.methods,
        "Preset": config.get("preset"),
        "Backbone": backbone.get("path"),
        "Backbone number format": backbone.get("dtype"),
        "Rows per task": _rows(config.get("rows") or {}),
        "Libraries": results.made_by.get("versions"),
    }
    return Table(
        head=["", ""],
        rows=[[key, _shown(value)] for key, value in rows.items() if value],
        caption="",
        name="summary",
        prose=True,
    )


def _switches(results: Results) -> Table:
    rows: list[list[Cell | str]] = [
        [key, _shown(here), _shown(paper), _meaning(key)]
        for key, here, paper in differences(results.config)
    ]
    return Table(
        head=["Switch", "Here", "Preset paper", "Meaning"],
        rows=rows or [["none", "", "", "every switch has the value of preset paper"]],
        caption="Switches whose value differs from preset paper, which is the publication's text "
        "read literally.",
        title="Differences from preset paper",
        name="switches",
        prose=True,
    )


def _variants(results: Results) -> Table:
    return Table(
        head=["Variant", "Method", "Switches it sets"],
        rows=[
            [name, rule["method"], _shown(rule.get("set"))]
            for name, rule in results.config["variants"].items()
        ],
        caption="Variants are methods run again under other switches.",
        title="Variants",
        name="variants",
        prose=True,
    )


def _edits(results: Results) -> Table:
    return Table(
        head=["Run", "Seed", "Task", "Artefact", "How"],
        rows=[[e.run, str(e.seed), e.task, e.artefact, e.how] for e in results.edits],
        caption="What a person decided instead of a stage. The results of these runs rest on it; "
        "the table of metrics marks them with †.",
        title="Edits",
        name="edits",
        prose=True,
    )


def section(results: Results) -> Section:
    """Summary of the configuration and its differences from the paper's."""
    blocks: list[Block] = [_summary(results)]
    if results.edits:
        blocks.append(_edits(results))
    blocks.append(_switches(results))
    if results.config.get("variants"):
        blocks.append(_variants(results))
    return Section("run", "The run", "What was trained on what, and under which switches.", blocks)

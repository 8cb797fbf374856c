"""Export a finished model as a folder that stands alone: experts, routers, configuration, card.

Reads   the results of a run
Writes  OUT/experts/*, OUT/routers.safetensors, OUT/model.json, OUT/config.yaml, OUT/README.md

    cmit export results/demo --method dmole models/demo-dmole
    cmit export results/demo models/numbers --merge numbers_ocr  # a checkpoint: one task's experts

The experts of OUT are PEFT folders; of a method with gates of its own they are mixtures. What is
exported answers as the run does after its last step. The backbone is named, not copied. With
--merge OUT is a copy of the backbone instead, with the experts for one task in its weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts, cli, provenance
from stages.core.base.errors import InputError, first_line
from stages.tools.new_folder import new_folder

if TYPE_CHECKING:
    from stages.core.model.source import RunSource
    from stages.core.runs.run_sheet import Run, RunSheet

ADAPTER = "adapter_config.json"


def export(sheet: RunSheet, run: Run, out: Path) -> list[str]:
    """Write the model of a run to ``out``; returns the tasks whose states are in it.

    Raises:
        InputError: the run is not finished or has nothing to export, or ``out`` is not empty.
    """
    import yaml

    from stages.core.model.exported import EXPERTS, NOTES
    from stages.core.model.source import RunSource

    source = RunSource(sheet, run)
    source.check(None)
    states = {task: path for name, task, path in source.needed(None) if name == "expert"}
    if not states:
        raise InputError(f"{source.place}: it has learnt nothing that could be exported.")
    text = _card(sheet, run, source, list(states))
    with new_folder(out) as draft:
        for task, folder in states.items():
            shutil.copytree(folder, draft / EXPERTS / task, ignore=shutil.ignore_patterns(".*"))
            _refer(draft / EXPERTS / task / ADAPTER, source.config["backbone"])
        routers = _write_routers(source, draft)
        notes = {
            "stream": sheet.stream,
            "run": run.name,
            "method": run.method,
            "seed": run.seed,
            "tasks": run.tasks,
            "config": source.config,
            "limits": source.limits,
            "experts": list(states),
            "routers": routers,
            "files": _sums(draft),
            "provenance": _made_of(run, source),
        }
        artifacts.write_json("model", draft / NOTES, notes)
        (draft / "config.yaml").write_text(yaml.safe_dump(sheet.config, sort_keys=False))
        (draft / "README.md").write_text(text)
    return list(states)


def _refer(file: Path, backbone: dict[str, Any]) -> None:
    """Let an adapter's configuration name the backbone as others find it."""
    if file.is_file():
        name = backbone.get("hub_id") or backbone["path"]
        config = json.loads(file.read_text())
        config |= {"base_model_name_or_path": name, "revision": backbone["revision"]}
        file.write_text(json.dumps(config, sort_keys=True, indent=2) + "\n")


def _write_routers(source: RunSource, draft: Path) -> dict[str, dict[str, Any]]:
    """All routers in one file; returns what model.json says of them."""
    from stages.core.dmole.routers import packed
    from stages.core.model.exported import ROUTERS

    if not source.routed:
        return {}
    tensors, notes = {}, {}
    for task in source.tasks:
        model, threshold = source.router(task)
        parts, made = packed(model)
        tensors |= {f"{task}.{key}": value for key, value in parts.items()}
        parent = source.parent(task) if source.uses_parents else None
        notes[task] = {"threshold": threshold, "made": made, "parent": parent}
    artifacts.write_weights(draft / ROUTERS, tensors, provenance={})
    return notes


def _sums(draft: Path) -> dict[str, str]:
    """SHA-256 of every file that decides an answer, by its name below the folder."""
    files = sorted(file for file in draft.rglob("*") if file.is_file())
    return {str(file.relative_to(draft)): provenance.file_hash(file) for file in files}


def _made_of(run: Run, source: RunSource) -> dict[str, Any]:
    files = {f"{name}/{task}": path for name, task, path in source.needed(None)}
    return provenance.record("tools.export", files, source.config, seed=run.seed, method=run.method)


def _licence(source: RunSource) -> str | None:
    """Of the backbone, as the model card in its folder says; None where it says nothing."""
    import yaml
    from huggingface_hub import metadata_load

    file = Path(source.backbone) / "README.md"
    if not file.is_file():
        return None
    try:
        licence: str | None = (metadata_load(file) or {}).get("license")
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: its front matter is faulty: {first_line(error)}.") from None
    return licence


def _card(sheet: RunSheet, run: Run, source: RunSource, states: list[str]) -> str:
    from stages.core.runs.stage_table import artefact
    from stages.tools.model_card import Facts, card

    summaries = {}
    for name in ("scores", "metrics"):
        summaries[name] = sheet.path.parent / artefact(name).path
        if not summaries[name].is_file():
            raise InputError(
                f"{source.place}: not finished, because its {name} are missing: "
                f"{summaries[name]}. Run it to its end."
            )
    rows = artifacts.read_table("scores", summaries["scores"]).to_pylist()
    metrics = artifacts.read_json("metrics", summaries["metrics"])
    mine = [r for r in metrics["runs"] if (r["method"], r["seed"]) == (run.name, run.seed)]
    if not mine:
        raise InputError(
            f"{summaries['metrics']}: not finished, because it has no metrics of {run.name}, seed "
            f"{run.seed}. Run it to its end."
        )
    return card(
        Facts(
            run=run.name,
            method=run.method,
            seed=run.seed,
            stream=sheet.stream,
            backbone=source.config["backbone"],
            tasks=[artifacts.task_record(run.file("test_rows", task)) for task in run.tasks],
            scores=[r for r in rows if (r["method"], r["seed"]) == (run.name, run.seed)],
            metrics=mine[0],
            summary=next(e for e in metrics["summary"] if e["method"] == run.name),
            definitions=metrics["definitions"],
            sources=sheet.sources,
            licence=_licence(source),
            experts=states,
            parent=source.parent(states[-1]) if source.uses_parents else None,
            peft=all((source.states[task] / ADAPTER).is_file() for task in states),
            told=source.method.knows_task,
        )
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = cli.parser(__doc__, config=False)
    parser.add_argument("run", type=Path, metavar="RUN", help="results of a run")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--method", help="method or variant (default, the run's first)")
    parser.add_argument("--seed", type=int, help="default, the first of the run")
    parser.add_argument("--merge", metavar="TASK", help="a checkpoint of this task's experts alone")
    args = parser.parse_args(argv)

    from stages.core.runs.find_run import find_run

    sheet, run = find_run(args.run, args.method, args.seed)
    if args.merge:
        from stages.tools.merged import merge

        experts = merge(sheet, run, args.merge, args.out)
        print(f"{args.out}: the backbone with {' + '.join(experts)} in its weights.")
        return
    states = export(sheet, run, args.out)
    what = "the expert" if len(states) == 1 else f"{len(states)} experts"
    print(f"{args.out}: {what} ({', '.join(states)}) and the model card.")


if __name__ == "__main__":
    cli.run(main)

"""One set of experts merged into the backbone's weights: a checkpoint like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.base.errors import InputError, unknown
from stages.tools.new_folder import new_folder

if TYPE_CHECKING:
    from stages.core.model.source import Source
    from stages.core.runs.run_sheet import Run, RunSheet

WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth")


def merge(sheet: RunSheet, run: Run, task: str, out: Path) -> list[str]:
    """Write the backbone with the experts for a task merged in; returns whose experts they are.

    Raises:
        InputError: an unknown task, a run that is not finished, a mixture, which has no merged
            form, or ``out`` is not empty.
    """
    from stages.core.backbone.load import load_backbone, local_folder
    from stages.core.experts.lora import CONFIG, ExpertModel
    from stages.core.model.source import RunSource

    source = RunSource(sheet, run)
    experts = expert_set(source, task)
    if not all((source.states[name] / CONFIG).is_file() for name in experts):
        raise InputError(
            f"{source.place}: its states are mixtures, whose gates look at each input; they cannot "
            "be merged into weights. Export it without --merge."
        )
    settings = source.config["backbone"]
    with new_folder(out) as draft:
        backbone = load_backbone(source.backbone, settings, "cpu")
        model = ExpertModel(backbone)
        for name in experts:
            model.load(name, source.states[name])
        model.activate(experts)
        model.peft.merge_and_unload(safe_merge=True, adapter_names=experts).save_pretrained(draft)
        for file in local_folder(source.backbone, settings.get("revision")).iterdir():
            if file.is_file() and not (file.name.endswith(WEIGHTS) or (draft / file.name).exists()):
                shutil.copyfile(file, draft / file.name)
        (draft / "README.md").write_text(_card(source, task, experts))
    return experts


def expert_set(source: Source, task: str) -> list[str]:
    """Who answers a sample of a task after the last step: its own expert, and beside it the
    parent where the run routes so; without routers the state of the last step.

    Raises:
        InputError: an unknown task, or a part that is missing.
    """
    if task not in source.tasks:
        raise unknown("task", task, source.tasks, "--merge")
    source.check(None)
    if not source.routed:
        return source.active(task, None)
    parent = source.parent(task) if source.uses_parents else None
    return [task] if parent is None else [task, parent]


def _card(source: Source, task: str, experts: list[str]) -> str:
    backbone = source.config["backbone"]
    base, revision = backbone.get("hub_id") or backbone["path"], backbone["revision"]
    named = f"base_model: {base}\n" if backbone.get("hub_id") else ""
    return (
        f"---\n{named}library_name: transformers\npipeline_tag: image-text-to-text\n"
        f"tags: [continual-learning, multimodal, {source.method.name}]\n---\n\n"
        f"# {task}, of {source.run}, seed {source.seed}\n\n"
        f"`{base}`{f' at commit `{revision}`' if revision else ''} with the LoRA experts of "
        f"{' and '.join(experts)} merged into its weights, by cmit-pipeline. Every question is "
        "answered by them: nothing chooses any more.\n\n"
        "```python\nfrom transformers import AutoModelForImageTextToText\n\n"
        'model = AutoModelForImageTextToText.from_pretrained("THIS_FOLDER")\n```\n\n'
        "Nobody has checked the answers for harm or bias; the licences of the data and of the "
        "backbone bind.\n"
    )

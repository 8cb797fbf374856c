"""The folder that ``cmit export`` writes, as the parts of a model."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.base import artifacts
from stages.core.base.errors import InputError, first_line
from stages.core.base.provenance import file_hash
from stages.core.base.reading import read_weights
from stages.core.model.source import RunSource, Source
from stages.core.runs.find_run import find_run
from stages.methods import registry as methods

if TYPE_CHECKING:
    from stages.core.dmole.routers import Router

NOTES, ROUTERS, EXPERTS = "model.json", "routers.safetensors", "experts"
HUB = "hf:"  # in front of names on the Hugging Face hub


def is_exported(folder: Path) -> bool:
    """Whether a folder is an export."""
    return (folder / NOTES).is_file()


def check_file(file: Path, expected: str) -> None:
    """Raises :class:`InputError` for a file that is missing, or whose SHA-256 is another."""
    if not file.is_file():
        raise InputError(f"{file}: missing; get the exported folder again.")
    if file_hash(file) != expected:
        raise InputError(
            f"{file}: changed since it was exported, or not downloaded in full (its SHA-256 is not "
            f"that of {NOTES}); get the exported folder again."
        )


class ExportedSource(Source):
    """The model of an exported folder."""

    lacks = (
        "no {name} of {task}, because an export holds only what answers after the last step. Ask "
        "the run that it was made from."
    )

    def __init__(self, folder: Path) -> None:
        """Read what the folder says of itself.

        Raises:
            InputError: not an export, or one with a file that is faulty, changed or missing.
        """
        self.folder, found = folder, artifacts.read_json("model", folder / NOTES)
        self.notes = found["routers"]
        for name, expected in found["files"].items():
            check_file(folder / name, expected)
        super().__init__(
            place=str(folder),
            run=found["run"],
            method=methods.load(found["method"]),
            seed=found["seed"],
            tasks=found["tasks"],
            config=found["config"],
            limits=found["limits"],
            states={task: folder / EXPERTS / task for task in found["tasks"]},
        )

    @property
    def backbone(self) -> str:
        """The folder that the run used; where it is not there, the name on the hub if there is
        one."""
        named = self.config["backbone"]
        if Path(named["path"]).is_dir() or not named.get("hub_id"):
            return named["path"]
        return named["hub_id"]

    def router(self, task: str) -> tuple[Router, float]:
        from stages.core.dmole.routers import rebuild

        tensors = {
            key.removeprefix(f"{task}."): value
            for key, value in self._weights.items()
            if key.startswith(f"{task}.")
        }
        notes = self.notes.get(task)
        if notes is None:
            raise InputError(f"{self.folder / NOTES}: no router of {task}; export it again.")
        model = rebuild(tensors, {"task": task, **notes["made"]}, self.folder / ROUTERS)
        return model, notes["threshold"]

    def parent(self, task: str) -> str | None:
        return self.notes[task]["parent"]

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return read_weights(self.folder / ROUTERS)[0]


def find_source(path: Path, method: str | None = None, seed: int | None = None) -> Source:
    """The parts of the model that a person means: an exported folder, or a run as in
    :func:`find_run`; also an exported folder on the Hugging Face hub, ``hf:OWNER/NAME`` or
    ``hf:OWNER/NAME@REVISION``, whose files come from the cache or are downloaded.

    Raises:
        InputError: none of these, or an export of another method or seed.
    """
    if str(path).startswith(HUB):
        path = _downloaded(str(path))
    if not is_exported(path):
        return RunSource(*find_run(path, method, seed))
    source = ExportedSource(path)
    for name, given, found in (("method", method, source.run), ("seed", seed, source.seed)):
        if given not in (None, found):
            raise InputError(f"{path}: exported of {name} {found}, not {given}.")
    return source


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        found = snapshot_download(
            repository, revision=revision or None, allow_patterns=["*.json", "*.safetensors"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise InputError(f"{name}: {first_line(error)}") from None
    if not is_exported(Path(found)):
        raise InputError(f"{name}: holds no {NOTES}, so that it is nothing `cmit export` made.")
    return Path(found)

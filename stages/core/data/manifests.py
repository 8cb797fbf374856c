"""A task's manifest: read, check, and resolve its paths against the data root.

Paths come from files and may be no path at all; os.path answers where pathlib raises.
"""

import os
import string
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from stages.core.base import provenance
from stages.core.base.config import check, check_finite_numbers
from stages.core.base.errors import InputError, unknown
from stages.core.base.yaml_files import read_yaml
from stages.core.data.markers import MARKER, PLACE

ANSWERED = (  # of published scripts that compare an answer with the gold ones
    *("coin_accuracy", "coin_gqa", "coin_imagenet", "coin_ocrvqa", "coin_textvqa"),
    *("ucit_accuracy", "trigap_accuracy", "trigap_anls", "easycl_accuracy"),
    *("mllm_cl_ai2d", "mllm_cl_pvqa", "mllm_cl_sci", "mllm_cl_finvis"),
    *("mllm_cl_ocr", "mllm_cl_sat", "mllm_cl_math"),
)
METRICS = {
    "captioning": ("cider",),
    "open_vqa": ("accuracy", "exact", "soft_accuracy", "vqa_accuracy", "textvqa", *ANSWERED),
    "choice_vqa": ("choice", "coin_scienceqa", *ANSWERED),
    "grounding": ("iou", "coin_grounding"),
}
PLACEHOLDERS = {  # kind: what the prompt must have
    "captioning": (),
    "open_vqa": ("question",),
    "choice_vqa": ("question", "options"),
    "grounding": ("question",),
}


class DataRoot:
    """The folder that files and images must lie in, symbolic links followed.

    ``linked`` are further folders that links may lead to.
    """

    def __init__(self, folder: Path, linked: tuple[str, ...] = ()) -> None:
        self.folder = Path(os.path.normpath(folder))
        self._real = [os.path.realpath(self.folder / other) for other in (".", *linked)]
        self._folder_inside = lru_cache(maxsize=4096)(self._inside)

    def place(self, path: str, start: Path | None = None) -> Path | None:
        """The path below ``start`` (default, the root), or None if it leads out of the root."""
        below = "" if path.startswith("/") else f"{start or self.folder}/"
        joined = Path(os.path.normpath(below + path))
        try:
            inside = self._folder_inside(joined.parent) or self._inside(joined)  # the root itself
            if os.path.islink(joined):  # noqa: PTH114 - names too long are no error
                inside = self._inside(joined)
        except ValueError:  # a NUL character: no such file
            inside = False
        return joined if inside else None

    def _inside(self, path: Path) -> bool:
        real = os.path.realpath(path)
        return any(os.path.commonpath([real, root]) == root for root in self._real)


@dataclass(frozen=True)
class Split:
    """One split's files, resolved and found, and how to read them."""

    name: str
    format: str
    path: Path | None  # None: a data set of the hub
    annotations: Path | None
    images: Path
    root: DataRoot
    fields: dict[str, str | None]
    selected: str | None  # value of the column `split`
    rows: int | None
    hub: dict[str, str] | None
    question: str | None = None  # of every row

    @property
    def file(self) -> Path:
        """The file of the rows; a data set of the hub has none.

        Raises:
            ValueError: a data set of the hub.
        """
        if self.path is None:
            raise ValueError(f"{self.name}: a data set of the hub has no file")
        return self.path

    @property
    def files(self) -> dict[str, Path]:
        """The files that the rows come from, by role (images apart)."""
        named = {"rows": self.path, "annotations": self.annotations}
        return {role: path for role, path in named.items() if path}


# Keys that say something about a task, or that other commands read; no row depends on them.
SAID = ("label", "description", "source", "typical", "prompts", "files")


@dataclass(frozen=True)
class Manifest:
    """A checked manifest."""

    path: Path
    name: str
    kind: str
    metric: str | dict  # a name, or a name with its options
    prompt: str | None
    root: DataRoot
    task: dict  # what the data artefact's metadata says of the task
    content: dict

    @property
    def decisive(self) -> dict:
        """The part of the content that the prepared rows depend on."""
        return {key: value for key, value in self.content.items() if key not in SAID}

    @property
    def options_in_text(self) -> bool:
        """Whether the options of a choice task stand in its questions."""
        return self.content.get("options") == "text"

    def tested_on_training_rows(self) -> "Manifest":
        """The same task with its training split in place of the test split."""
        return replace(self, content={**self.content, "test": self.content["train"]})

    def prompt_of(self, answers: tuple[str, ...]) -> str | None:
        """The prompt of a row with these gold answers."""
        own = self.content.get("prompt_for", {})
        return own["prompt"] if {*answers} & {*own.get("answers", ())} else self.prompt

    @property
    def box(self) -> dict[str, str]:
        """How the rows write boxes: ``format`` and ``order``."""
        return {"format": "pixels", "order": "xyxy", **self.content.get("box", {})}

    def split(self, name: str) -> Split:
        """The files of ``train`` or ``test``.

        Raises:
            InputError: a path out of the data root, a missing file, a wrong checksum.
        """
        entry = self.content[name]
        where = f"{self.path}: {name}"
        split = Split(
            name=name,
            format=entry.get("format", self.content["format"]),
            path=self._locate(entry, "file", where),
            annotations=self._locate(entry, "annotations", where),
            images=self._locate(entry, "images", where) or self.root.folder,
            root=self.root,
            fields={**self.content.get("fields", {}), **entry.get("fields", {})},
            selected=entry.get("split"),
            rows=entry.get("rows"),
            hub=entry.get("hub"),
            question=self.content.get("question"),
        )
        if (split.path is None) == (split.hub is None):
            raise InputError(f"{where}: exactly one of 'file' and 'hub' is needed.")
        if split.hub and split.format != "datasets":
            raise InputError(f"{where}.hub: needs format 'datasets', not {split.format!r}.")
        second = split.annotations is not None
        if second != (split.format == "vizwiz") and not (second and split.format == "llava_json"):
            raise InputError(
                f"{where}.annotations: goes with format 'vizwiz', and else only with 'llava_json'."
            )
        for key, path in (("file", split.path), ("annotations", split.annotations)):
            folder = key == "file" and split.format == "datasets"
            if path and not path.is_file() and not (folder and path.is_dir()):
                raise InputError(f"{where}.{key}: {path} is no file.")
        if not split.images.is_dir():
            raise InputError(f"{where}.images: {split.images} is no folder.")
        self._check_sum(entry, split, where)
        return split

    def _locate(self, entry: dict, key: str, where: str) -> Path | None:
        if key not in entry:
            return None
        path = self.root.place(entry[key])
        if path is None:
            raise InputError(
                f"{where}.{key}: {entry[key]!r} leads out of the data root {self.root.folder}. "
                "Move the data below the root, or allow the folder under 'linked_roots'."
            )
        if not os.path.exists(path):  # noqa: PTH110 - names too long are no error
            raise InputError(
                f"{where}.{key}: {path} not found. Paths are relative to the data root "
                f"{self.root.folder} ('root' in the manifest, or --root)."
            )
        return path

    def _check_sum(self, entry: dict, split: Split, where: str) -> None:
        wanted = entry.get("sha256")
        if wanted and split.path is None:
            raise InputError(f"{where}.sha256: a hub data set is pinned by its revision instead.")
        if wanted and (found := provenance.file_hash(split.file)) != wanted:
            raise InputError(
                f"{where}.sha256: {split.path} has {found}, expected {wanted}. Get the file "
                "again, or correct the manifest if the change is wanted."
            )


def load_manifest(path: Path, root: Path | str | None = None) -> Manifest:
    """A manifest's content checked; its files are looked at by :meth:`Manifest.split`.

    ``root`` replaces the manifest's data root.

    Raises:
        InputError: unknown key (near miss suggested), wrong value, metric or prompt that does
            not fit the kind.
    """
    path = Path(path)
    content = read_yaml(path)
    check_finite_numbers(content, str(path))
    check(content, "manifest", str(path))
    kind, metric, prompt = content["kind"], content["metric"], content.get("prompt")
    if content["name"] != path.stem:
        raise InputError(f"{path}: name: {content['name']!r} differs from the file's name.")
    _check_metric(metric, kind, f"{path}: metric")
    for key, only in (("answer", "choice_vqa"), ("options", "choice_vqa"), ("box", "grounding")):
        if key in content and kind != only:
            raise InputError(f"{path}: {key}: goes with kind {only!r}, and only with it.")
    if content.get("options") == "text" and "answer" in content:
        raise InputError(f"{path}: answer: not with 'options: text'; such rows hold their answers.")
    asked = "open_vqa" if content.get("options") == "text" else kind  # no {options} is needed
    own = content.get("prompt_for", {}).get("prompt")
    for key, template in (("prompt", prompt), ("prompt_for.prompt", own)):
        if template is not None:
            _check_prompt(template, asked, f"{path}: {key}")
    if (question := content.get("question")) is not None:
        _check_question(question, prompt or "", f"{path}: question")
    folder = Path(root) if root else path.parent / content.get("root", ".")
    if not os.path.isdir(folder):  # noqa: PTH112 - names too long are no error
        raise InputError(f"{path}: root: {folder} is no folder.")
    generation = {"min_new_tokens": 1, **content["generation"]}
    if generation["min_new_tokens"] > generation["max_new_tokens"]:
        raise InputError(f"{path}: generation: min_new_tokens exceeds max_new_tokens.")
    task = {"name": content["name"], "kind": kind, "metric": metric, **generation}
    linked = tuple(content.get("linked_roots", ()))
    return Manifest(
        path, content["name"], kind, metric, prompt, DataRoot(folder, linked), task, content
    )


def _check_metric(metric: str | dict, kind: str, where: str) -> None:
    entry = {"name": metric} if isinstance(metric, str) else metric
    name, options = entry["name"], sorted(entry.keys() - {"name"})
    if name not in METRICS[kind]:
        raise unknown(f"metric for {kind}", name, METRICS[kind], where)
    if options and name != "iou":
        raise InputError(f"{where}.{options[0]}: goes with metric 'iou', and only with it.")


def _check_prompt(prompt: str, kind: str, where: str) -> None:
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(prompt) if name is not None}
    except ValueError as error:
        raise InputError(f"{where}: {error}; a literal brace is written twice.") from None
    allowed = ("question", "options", "knowledge")
    for name in sorted(found - set(allowed)):
        raise unknown("placeholder", name, allowed, where)
    for name in PLACEHOLDERS[kind]:
        if name not in found:
            raise InputError(f"{where}: a {kind} prompt needs {{{name}}}.")
    _check_no_marker(prompt, where)


def _check_question(question: str, prompt: str, where: str) -> None:
    if not question.strip():
        raise InputError(f"{where}: has no text.")
    if "{question}" not in prompt:
        raise InputError(f"{where}: nothing asks it, since 'prompt' has no {{question}}.")
    _check_no_marker(question, where)


def _check_no_marker(text: str, where: str) -> None:
    if MARKER in text or PLACE in text:
        raise InputError(f"{where}: leave out {MARKER!r}; images come first, or where a row says.")

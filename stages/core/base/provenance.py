"""Where an artefact comes from: input hashes, source hash, versions, config slice, seed.

Nothing here depends on the time or the place of a run, so equal inputs give equal records.
"""

import ast
import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
PACKAGES = ("torch", "transformers", "peft", "numpy", "pyarrow", "safetensors")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files (relative name and content, in name order)."""
    path = Path(path)
    if path.is_dir():
        total = hashlib.sha256()
        for item in sorted(p for p in path.rglob("*") if p.is_file()):
            total.update(f"{item.relative_to(path).as_posix()}\0{file_hash(item)}\n".encode())
        return total.hexdigest()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _module_file(name: str) -> Path | None:
    """The project's source file of a dotted module name, or None if it is not ours."""
    base = PROJECT.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _tree(name: str) -> ast.Module:
    """A module of the project as its syntax tree."""
    file = _module_file(name)
    if file is None:
        raise ModuleNotFoundError(name)
    return ast.parse(file.read_text())


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Project modules that a module imports anywhere in its text, functions included."""
    found: set[str] = set()
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found.update(n for n in names if n.split(".")[0] == "stages" and _module_file(n))
    return tuple(sorted(found))


def modules_of(*names: str) -> list[str]:
    """The modules and every project module they import, transitively, sorted."""
    seen, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(_imports(name))
    return sorted(seen)


@cache
def source_hash(*names: str) -> str:
    """Hash of the code behind the modules: comments, blank lines, docstrings and the wording of
    messages do not count.

    The syntax tree is hashed, not the text, so that only an edit that can change an artefact
    reruns a stage.
    """
    total = hashlib.sha256()
    for name in modules_of(*names):
        total.update(f"{name}\0{_behaviour(name)}\n".encode())
    return total.hexdigest()[:16]


@cache
def _behaviour(name: str) -> str:
    """A module's syntax tree as text, without what only people read."""
    tree = _tree(name)
    for node in ast.walk(tree):
        _drop_docstring(node)
        if _is_message(node):
            _drop_wording(node)
    return ast.dump(tree)


def _drop_docstring(node: ast.AST) -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:]


def _is_message(node: ast.AST) -> bool:
    """Whether a node makes a message: a raised error, an error or a list of allowed names made to
    be raised, something printed, the help of a flag, a table named ``..._ADVICE``."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return any(name.endswith("ADVICE") for name in names)
    if isinstance(node, ast.keyword):
        return node.arg == "help"
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        return called.endswith("Error") or called in ("unknown", "print")
    return False


def _drop_wording(message: ast.AST) -> None:
    """Empty the texts of a message; what is computed in it stays."""
    for node in ast.walk(message):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        elif isinstance(node, ast.JoinedStr):
            node.values = [part for part in node.values if not isinstance(part, ast.Constant)]


def record(
    stage: str,
    inputs: dict[str, Path],
    config: dict,
    *,
    seed: int | None = None,
    device: str = "cpu",
    method: str | None = None,
) -> dict:
    """The provenance entry of an artefact (JSON-able, no time stamps, no absolute paths)."""
    modules = [f"stages.{stage}"] + ([f"stages.methods.{method}"] if method else [])
    return {
        "stage": stage,
        "source": source_hash(*modules),
        "inputs": {name: file_hash(path) for name, path in sorted(inputs.items())},
        "config": config,
        "seed": seed,
        "method": method,
        "device": device,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }

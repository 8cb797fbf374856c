"""Who may import whom: a module imports from its own layer and below, never above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [  # of docs/architecture.md, lowest first
    {"core.base"},
    {"core.data"},
    {"core.backbone"},
    {"core.experts", "core.dmole"},
    {"core.training", "core.evaluation"},
    {"methods"},
    {"core.runs"},
    {"core.cluster", "core.costs", "core.model", "core.report"},
    {"stage"},
    {"tools", "pocket"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted((ROOT / "stages").rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    """``core.base`` of stages.core.base.errors; ``stage`` of a stage."""
    parts = module.split(".")[1:] or [""]
    if parts[0] == "core":
        return ".".join(parts[:2])
    return parts[0] if parts[0] in ("methods", "tools", "pocket") else "stage"


def imports_of(path: Path) -> set[str]:
    """Modules of the project that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_imported_from_above(path: Path) -> None:
    if path.name == "__init__.py" and path.parent.name != "stages":
        assert path.read_text() == "", "packages are empty"
        return
    module = module_of(path)
    mine = room_of(module)
    for other in imports_of(path):
        theirs = room_of(other)
        if mine == theirs == "stage":
            assert other == module, f"{module} imports the stage {other}"
        assert LEVEL[theirs] <= LEVEL[mine], f"{module} imports {other}, which is above it"


def test_the_product_never_imports_the_pocket_recipe() -> None:
    users = {
        module_of(path)
        for path in FILES
        if room_of(module_of(path)) not in ("pocket",)
        for other in imports_of(path)
        if room_of(other) == "pocket"
    }
    assert users == set()

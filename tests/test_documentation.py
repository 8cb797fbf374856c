"""What README and docs say of the code: methods, commands, the configuration, metrics, stages."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import complete
from stages.core.evaluation.stream_metrics import FORMULAS
from stages.core.model import continual
from stages.core.runs.checks import check_runs
from stages.core.runs.runs import Runs
from stages.methods import registry as methods
from stages.tools import cmit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
KEYS_PAGE = ROOT / "workflow/config/README.md"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    KEYS_PAGE,
    ROOT / "data_manifests/README.md",
]
ALL_KEYS = KEYS_PAGE.read_text().split("## All keys")[1]  # held by test_config_keys.py
KEYS = set(re.findall(r"^\| `([\w.]+)` \|", ALL_KEYS, re.M))
TOOLS = cmit.tools()
MADE_UP = {"stages/methods/pull.py", "data_manifests/mine/birds.yaml"}  # what a page tells to write


def blocks(text: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def first_column(text: str) -> set[str]:
    """The names in code style of the first column of the tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_readme_and_page_list_every_method() -> None:
    table = README.split("## Methods")[1].split("\n## ")[0]
    assert first_column(table) == set(methods.names())
    page = (ROOT / "docs/methods.md").read_text()
    assert first_column(page) == set(methods.names())
    for name in methods.names():
        row = next(line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
        assert row.endswith(f"| {'yes' if methods.load(name).knows_task else 'no'} |")


def test_the_readmes_configuration_can_be_run() -> None:
    (text,) = blocks(README, "yaml")
    assert len(text.splitlines()) == 6
    check_runs(Runs(complete(yaml.safe_load(text), "README.md")))


def test_the_readmes_lines_use_what_the_model_has() -> None:
    (code,) = (block for block in blocks(README, "python") if "ContinualModel" in block)
    tree = ast.parse(code)
    assert len(tree.body) == 4
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    known = {*dir(continual.ContinualModel), *continual.Answer.__annotations__}
    assert used == {"load", "ask", "text", "experts", "ratios"} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_commands_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    for name, rest in re.findall(r"(?:^|`)cmit ([a-z][a-z-]*)([^`#\n]*)", text, re.M):
        known = {*cmit.flags(TOOLS[name])} if name in TOOLS else set()
        assert name in {*TOOLS, "completion"}
        assert {*re.findall(r"--[a-z-]+", rest)} <= known, name
    for module in re.findall(r"python -m (stages[\w.]+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_files_and_keys_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"\b(?:stages|workflow|tests|docs|data_manifests|envs)/[\w./-]+\.\w+", text)
    assert not [file for file in {*named} - MADE_UP if not (ROOT / file).is_file()]
    sections = {key.partition(".")[0] for key in KEYS if "." in key}
    dotted = re.findall(r"`([a-z_]+\.(?!json|yaml)[a-z_]+)(?::[^`]*)?`", text)
    assert not [key for key in dotted if key.partition(".")[0] in sections and key not in KEYS]


def test_the_page_of_commands_has_all_of_them() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "docs/commands.md").read_text(), re.M)
    assert sorted([*rows, "make-tiny-backbone"]) == sorted(TOOLS)


def test_the_page_of_metrics_has_all_of_them() -> None:
    assert first_column((ROOT / "docs/metrics.md").read_text()) == set(FORMULAS)

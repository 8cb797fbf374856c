"""The schema, the README's table and the shipped configurations agree."""

import re
import runpy
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from stages.core.base.config import PRESETS, load_config, schema
from stages.core.runs.stage_table import STAGES

FOLDER = Path("workflow/config")
OTHER_WORKFLOW = FOLDER / "pocket_backbone.yaml"
FILES = sorted(set(FOLDER.glob("*.yaml")) - {OTHER_WORKFLOW})


def leaves(rule: dict, prefix: str = "") -> dict[str, dict]:
    """Every key of a schema, dotted, with its rule; groups included."""
    found = {}
    for name, inner in rule.get("properties", {}).items():
        found[prefix + name] = inner
        found |= leaves(inner, f"{prefix}{name}.")
    return found


KEYS = leaves(schema("config"))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_described_and_its_default_is_allowed(key: str) -> None:
    rule = KEYS[key]
    assert len(rule["description"]) > 10
    if "default" in rule:
        assert list(Draft202012Validator(rule).iter_errors(rule["default"])) == []


def test_groups_of_keys_refuse_unknown_ones() -> None:
    groups = {key: rule for key, rule in KEYS.items() if "properties" in rule}
    assert groups
    assert all(rule["additionalProperties"] is False for rule in groups.values())


def test_the_table_of_keys_is_the_schema() -> None:
    table = runpy.run_path(str(FOLDER / "table.py"))["table"]()
    assert table in (FOLDER / "README.md").read_text(), "run: python workflow/config/table.py"
    assert all(f"| `{key}` |" in table for key, rule in KEYS.items() if "properties" not in rule)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_named_in_the_readme(file: Path) -> None:
    assert load_config(file)["stream"] == file.stem
    assert f"`{file.name}`" in (FOLDER / "README.md").read_text()


def test_the_readmes_put_the_backbone_where_the_papers_configuration_looks() -> None:
    text = Path("README.md").read_text() + (FOLDER / "README.md").read_text()
    folders = re.findall(r"cmit convert-backbone InternVL2-2B (\S+)", text)
    assert set(folders) == {load_config(FOLDER / "cmit.yaml")["backbone"]["path"]}


def test_presets_and_stages_name_existing_keys() -> None:
    named = {key for preset in PRESETS.values() for key in preset}
    named |= {key for stage in STAGES.values() for key in stage.config}
    assert named <= set(KEYS)


def test_presets_are_the_allowed_values() -> None:
    assert set(KEYS["preset"]["enum"]) == set(PRESETS)

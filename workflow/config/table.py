"""The table of config keys, from the schema into workflow/config/README.md.

python workflow/config/table.py
"""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

HERE = Path(__file__).parent
SCHEMA = HERE.parent / "schemas" / "config.schema.yaml"
START, END = "<!-- table: written by table.py -->\n", "<!-- end of table -->\n"


def allowed(rule: dict) -> str:
    """The allowed values in a few words."""
    if "enum" in rule:
        switch = {True: "on", False: "off"}  # YAML's on and off
        return ", ".join(f"`{switch.get(value, value)}`" for value in rule["enum"])
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {rule[key]}" for key, sign in bounds.items() if key in rule]
    names = {"object": "mapping", "array": "list", "boolean": "`true`, `false`"}
    if rule.get("pattern") == r"^auto\Z":
        names["string"] = "`auto`"
    return " ".join([" or ".join(names.get(kind, kind) for kind in kinds), *limits])


def keys(properties: dict, required: list[str], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """(key, allowed, default, description) of every key, nested ones dotted."""
    for name, rule in properties.items():
        if "properties" in rule:
            yield from keys(rule["properties"], rule.get("required", []), f"{prefix}{name}.")
            continue
        default = "required" if name in required else f"`{json.dumps(rule['default'])}`"
        yield f"`{prefix}{name}`", allowed(rule), default, " ".join(rule["description"].split())


def table() -> str:
    """The table as Markdown."""
    schema = yaml.safe_load(SCHEMA.read_text())
    rows = [("key", "values", "default", "meaning"), ("---",) * 4]
    rows += keys(schema["properties"], schema["required"])
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def main() -> None:
    """Replace the table in the README."""
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(START)
    readme.write_text(before + START + table() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()

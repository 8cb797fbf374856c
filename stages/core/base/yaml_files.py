"""YAML as people write it, with faults named by file, line and column."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from stages.core.base.errors import InputError, first_line


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, and a key given twice is a fault."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """A mapping whose keys differ."""
        seen: dict[Hashable, str] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if not isinstance(name, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is text or a number", key.start_mark
                )
            if name in seen:
                before, now = seen[name], str(key.value)
                same = f"the key {now!r} is given twice"
                alike = f"the keys {before!r} and {now!r} are the same to YAML; put them in quotes"
                raise yaml.constructor.ConstructorError(
                    None, None, same if before == now else alike, key.start_mark
                )
            seen[name] = str(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> Any:
    """A YAML file's content; a missing or malformed file is an :class:`InputError`."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: file not found.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, expected a file.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML: {first_line(error)}") from None
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise InputError(f"{path}: not valid YAML: nested too deeply.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(f"{path}: not valid YAML: {place}{error.problem}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {first_line(error)}") from None
    except (ValueError, LookupError, AttributeError) as error:  # PyYAML's, of dates and tags
        problem = f"a value is not what it looks like or is tagged as: {error}"
        raise InputError(f"{path}: not valid YAML: {problem}; put text in quotes.") from None

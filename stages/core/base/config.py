"""Read, check and complete a configuration; cut the slice that one stage depends on.

The schema (workflow/schemas/config.schema.yaml) is the table of keys: each has a description,
its allowed values and its default. A preset only sets switches that the user left out.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.base.errors import InputError, unknown
from stages.core.base.yaml_files import read_yaml

CLONE = Path(__file__).resolve().parents[3]
WORKFLOW = CLONE / "workflow"
SCHEMAS = WORKFLOW / "schemas"

# ASSUME: switches on which the paper's text and its published code differ (docs/fidelity.md).
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"match_size": "slots", "expert.qkv": "fused"},
    "reference_code": {
        "match_size": "slots",
        "expert.qkv": "fused",
        "image.exif": "ignore",
        "profile.include_bias": True,
        "profile.loss": "token_mean",
        "budget.tower_score": "sum",
        "budget.vision_floor": 0.25,
        "features.text": "chat",
        "router.output": "sigmoid",
        "router.learning_rate": 0.005,
        "router.final_learning_rate": 0.001,
        "router.epochs": 1000,
        "router.patience": 10,
        "router.batch_size": 1024,
        "router.min_steps": 0,
        "threshold.calibration": "train",
        "transfer.require_threshold": True,
        "routing.second": "none",
    },
    # Measured on the pocket stream: experts answer beside the parent they learnt beside, and
    # routers know a request in other words (docs/decisions/04 and 10).
    "recommended": {
        "routing.second": "parent",
        "features.style": "meaning",
        "router.wordings": 4,
        "router.kind": "neighbours",
        "router.samples": 256,
        "threshold.quantile": 0.95,
        "threshold.factor": 1.7,
    },
}


@cache
def schema(name: str) -> dict:
    """One of the project's schemas by short name (config, manifest, allocation, ...), read once;
    nobody changes it."""
    return read_yaml(SCHEMAS / f"{name}.schema.yaml")


@cache
def _validator(schema_name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(schema_name))


def check(value: Any, schema_name: str, where: str) -> None:
    """Validate against a schema; the first fault names file, key, what came and what is allowed."""
    found = _validator(schema_name).iter_errors(value)
    faults = sorted(found, key=lambda e: [str(part) for part in e.path])
    if not faults:
        return
    fault = faults[0]
    key = ".".join(map(str, fault.absolute_path))
    if fault.validator == "additionalProperties":
        extra = min(set(fault.instance) - set(fault.schema.get("properties", {})), key=str)
        dotted = f"{key}.{extra}" if key else str(extra)
        raise unknown("key", extra, fault.schema.get("properties", {}), f"{where}: {dotted}")
    if fault.validator == "pattern" and "says" in fault.schema:
        raise InputError(f"{where}: {key}: {fault.instance!r}: expected {fault.schema['says']}")
    more = f" ({len(faults) - 1} more faults)" if len(faults) > 1 else ""
    raise InputError(f"{where}: {key or 'top level'}: {fault.message}.{more}")


def _with_defaults(value: dict, properties: dict) -> dict:
    """The mapping with absent keys set to the schema's defaults, recursively."""
    done = dict(value)
    for key, rule in properties.items():
        if rule.get("type") == "object" and "properties" in rule:
            done[key] = _with_defaults(done.get(key) or {}, rule["properties"])
        elif key not in done and "default" in rule:
            done[key] = rule["default"]
    return done


def _get(config: dict, dotted: str) -> Any:
    value = config
    for part in dotted.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(dotted)
        value = value[part]
    return value


def _set(config: dict, dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for part in parents:
        config = config.setdefault(part, {})
    config[last] = value


def set_key(config: dict, dotted: str, value: Any) -> dict:
    """A copy of a configuration with another value of a key."""
    changed = json.loads(json.dumps(config))
    _set(changed, dotted, value)
    return changed


def check_finite_numbers(value: Any, where: str, key: str = "") -> None:
    """YAML and JSON files can say NaN and infinity; no key of ours can be one.

    Raises:
        InputError: one of them; the message names the key.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            check_finite_numbers(item, where, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for item in value:
            check_finite_numbers(item, where, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {key}: {value} is no number that can be used.")


def complete(config: dict, where: str) -> dict:
    """A user's config checked, with the preset and then the defaults filled in."""
    check_finite_numbers(config, where)
    check(config, "config", where)
    filled = json.loads(json.dumps(config))
    for dotted, value in PRESETS[filled.get("preset", "recommended")].items():
        try:
            _get(filled, dotted)
        except KeyError:
            _set(filled, dotted, value)
    return _with_defaults(filled, schema("config")["properties"])


def load_config(path: Path) -> dict:
    """A config file, checked and completed.

    Raises:
        InputError: unknown key (near miss suggested), wrong value, unreadable file.
    """
    return complete(read_yaml(path) or {}, str(path))


def find_config(text: str) -> Path:
    """A config file by its path, or by its name in workflow/config without the ending.

    Raises:
        InputError: neither exists.
    """
    if Path(text).is_file():
        return Path(text)
    known = {path.stem: path for path in (WORKFLOW / "config").glob("*.yaml")}
    if text not in known:
        raise unknown("configuration", text, known, "--config")
    return known[text]


FREE = (
    "method_options",
    "training.per_task",
    "overrides.allocation",
    "overrides.router",
    "overrides.transfer",
)  # mappings whose keys are the user's


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys; an empty mapping is a leaf."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def with_variant(config: dict, name: str) -> dict:
    """The config under which a method or a named variant of it runs.

    Raises:
        InputError: a key that is not there, or a value that is not allowed.
    """
    if name not in config["variants"]:
        return config
    changed = json.loads(json.dumps(config))
    for dotted, value in config["variants"][name]["set"].items():
        try:
            before = _get(changed, dotted)
        except KeyError:
            raise unknown("key", dotted, leaves(changed), f"variants.{name}.set") from None
        if isinstance(before, dict) and dotted not in FREE:
            example = ", ".join(f"{dotted}.{key}" for key in sorted(before)[:2])
            raise InputError(
                f"variants.{name}.set.{dotted}: would replace the whole section; name its keys, "
                f"such as {example}."
            )
        _set(changed, dotted, value)
    check(changed, "config", f"variants.{name}")
    return changed


def located(path: str | Path) -> Path:
    """A file or folder that a configuration names: a relative path starts in the working
    directory; where nothing is there, it is of a shipped file and starts in the clone."""
    here, shipped = Path(path), CLONE / path
    return shipped if not here.exists() and shipped.exists() else here


UNTRACKED = (
    "training.report_to",
)  # keys in a stage's section that decide nothing of what it makes


def slice_config(config: dict, *keys: str) -> dict:
    """Only the named (dotted) keys, nested as in the config, without those that are untracked.

    Raises:
        InputError: the config lacks one.
    """
    part: dict = {}
    for dotted in keys:
        try:
            _set(part, dotted, _get(config, dotted))
        except KeyError:
            raise InputError(f"--config: lacks the key {dotted}.") from None
    for section, _, key in (dotted.partition(".") for dotted in UNTRACKED):
        if section in part:
            part[section] = {k: v for k, v in part[section].items() if k != key}
    return part


def from_argument(text: str) -> dict:
    """The value of ``--config``: JSON text as Snakemake passes it, or a YAML config file.

    Raises:
        InputError: neither a file nor JSON, or a faulty configuration.
    """
    if not text.lstrip().startswith("{"):
        return load_config(Path(text))
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--config: neither a file nor valid JSON: {error}") from None

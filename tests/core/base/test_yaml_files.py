"""YAML files as people write them."""

import pytest

from stages.core.base.errors import InputError
from stages.core.base.yaml_files import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e-3", -2.5e-3),
        (".5e1", 5.0),
        ("1e4x", "1e4x"),
        ("12", 12),
    ],
)
def test_exponents_without_a_point_are_numbers(tmp_path, text, value):
    path = tmp_path / "c.yaml"
    path.write_text(f"rate: {text}\n")
    assert read_yaml(path) == {"rate": value}


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2\n", "x:\n  b: 1\n  c: 2\n  b: 3\n", "a: {b: 1, b: 1}\n", "- {c: 1, c: 2}\n"],
)
def test_a_key_given_twice_is_a_fault(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml: not valid YAML: .*the key '\w' is given twice"):
        read_yaml(path)


def test_a_byte_order_mark_is_skipped_and_merges_stay_legal(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufeffbase: &base {a: 1}\nmore: {<<: *base, a: 2}\n".encode())
    assert read_yaml(path)["more"] == {"a": 2}


@pytest.mark.parametrize("text", ["? [a]\n: 1\n", "? {a: 1}\n: 1\n"])
def test_a_key_that_is_a_list_or_a_mapping_is_a_fault(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="a key is text or a number"):
        read_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "day: 2024-13-45",
        "time: 2024-01-01 25:00:00",
        "a: !!int x",
        "a: !!int ''",
        "a: !!bool maybe",
        "a: !!timestamp soon",
    ],
)
def test_a_value_that_is_not_what_it_looks_like_is_a_fault(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml: not valid YAML: .*put text in quotes"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000, "- " * 5000])
def test_deep_nesting_is_a_fault(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml: not valid YAML: nested too deeply"):
        read_yaml(path)


def test_a_folder_or_a_path_through_a_file_is_no_configuration(tmp_path):
    with pytest.raises(InputError, match="a folder, expected a file"):
        read_yaml(tmp_path)
    (tmp_path / "c.yaml").write_text("a: 1")
    with pytest.raises(InputError, match="file not found"):
        read_yaml(tmp_path / "c.yaml" / "d.yaml")


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("{1: a, true: b}", "1", "true"),
        ("{no: a, 0.0: b}", "no", "0.0"),
        ("{1: a, 0x1: b}", "1", "0x1"),
    ],
)
def test_keys_that_only_look_different_are_named_as_written(tmp_path, text, first, second):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"the keys '{first}' and '{second}' are the same"):
        read_yaml(path)

"""Hashes of files and of code."""

import hashlib

import pytest

from stages.core.base import provenance


def test_file_hash_is_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert provenance.file_hash(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_hash_sees_names_and_content(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = provenance.file_hash(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    renamed = provenance.file_hash(tmp_path / "d")
    (tmp_path / "d" / "b").write_text("2")
    assert len({first, renamed, provenance.file_hash(tmp_path / "d")}) == 3


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of three modules: stages.top imports stages.core.deep inside a function."""
    core = tmp_path / "stages" / "core"
    core.mkdir(parents=True)
    (tmp_path / "stages" / "__init__.py").touch()
    (core / "__init__.py").touch()
    (tmp_path / "stages" / "top.py").write_text(
        '"""Top."""\n\n\ndef work():\n    from stages.core import deep\n\n    return deep.value\n'
    )
    (core / "deep.py").write_text("value = 1\n")
    (core / "other.py").write_text("value = 1\n")
    monkeypatch.setattr(provenance, "PROJECT", tmp_path)
    yield tmp_path
    forget()


def forget():
    provenance.source_hash.cache_clear()
    provenance._imports.cache_clear()
    provenance._behaviour.cache_clear()


def hash_after(edited, text):
    edited.write_text(text)
    forget()
    return provenance.source_hash("stages.top")


def test_only_edits_that_can_matter_change_the_hash(project):
    forget()
    assert provenance.modules_of("stages.top") == [
        "stages.core",
        "stages.core.deep",
        "stages.top",
    ]
    first = provenance.source_hash("stages.top")
    deep, other = (project / "stages" / "core" / f"{name}.py" for name in ("deep", "other"))
    assert hash_after(other, "value = 2\n") == first
    assert hash_after(deep, '"""New docstring."""\n\nvalue = 1  # a comment\n') == first
    assert hash_after(deep, "value = 2\n") != first


CODE = """
import argparse

BAD_ADVICE = {{1: "{advice}"}}
parser = argparse.ArgumentParser()
parser.add_argument("--x", default="{default}", help="{help}")


def check(value, limit=3):
    if value > {bound}:
        raise ValueError(f"{raised} {{value}}")
    if value < 0:
        fault = KeyError("{made}")
        raise fault
    print("{printed}", value)
    return "{returned}"
"""
WORDS = ["advice", "default", "help", "raised", "made", "printed", "returned"]


@pytest.mark.parametrize("word", [*WORDS, "bound"])
def test_the_wording_of_messages_does_not_count(project, word):
    plain = dict.fromkeys(WORDS, "text") | {"bound": 5}
    first = hash_after(project / "stages/core/deep.py", CODE.format(**plain))
    other = CODE.format(**plain | {word: 6 if word == "bound" else "other"})
    same = hash_after(project / "stages/core/deep.py", other) == first
    assert same is (word not in ("bound", "default", "returned"))


def test_a_record_has_no_time_or_place(tmp_path):
    path = tmp_path / "in"
    path.write_text("x")
    entry = provenance.record("predict", {"rows": path}, {"k": 1}, seed=3, method="dmole")
    assert entry["seed"] == 3
    assert entry["inputs"] == {"rows": hashlib.sha256(b"x").hexdigest()}
    assert str(tmp_path) not in str(entry)

"""The hash by which an edit of an artefact is recognised."""

import hashlib
import json

import pytest

from stages.core.base import artifacts, edits
from stages.core.base.errors import InputError
from tests.core.base.test_artifacts import TRANSFER


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "b.json"
    artifacts.write_json("transfer", path, TRANSFER)
    return path


def test_the_hash_is_that_of_the_canonical_content(written) -> None:
    content = json.loads(written.read_text())
    text = (
        '{"losses":{"a":0.333333333},"parent":"a","provenance":{},"require_threshold":false,'
        '"step":2,"task":"b","thresholds":null}'
    )
    assert content["content_sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_file_as_it_was_written_is_not_edited(written) -> None:
    assert not edits.is_edited(written)
    edits.refuse_edited(written)


def test_layout_and_order_of_keys_are_no_edit(written) -> None:
    content = json.loads(written.read_text())
    written.write_text(json.dumps(dict(reversed(content.items()))))
    assert not edits.is_edited(written)


@pytest.mark.parametrize("change", [{"parent": None}, {"losses": {"a": 0.333333334}}, {"x": 1}])
def test_another_content_is_an_edit(written, change) -> None:
    written.write_text(json.dumps(json.loads(written.read_text()) | change))
    assert edits.is_edited(written)
    with pytest.raises(InputError, match=r"b\.json: was edited.*overrides: .*cmit discard-edits"):
        edits.refuse_edited(written)


@pytest.mark.parametrize("text", ["{}", "[1]", '{"task": ', json.dumps(TRANSFER), "\udcff"])
def test_what_no_stage_wrote_counts_as_edited(tmp_path, text) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, errors="surrogateescape")
    assert edits.is_edited(path)


def test_where_there_is_nothing_there_is_no_edit(tmp_path) -> None:
    assert not edits.is_edited(tmp_path / "none.json")
    (tmp_path / "empty.json").touch()
    assert not edits.is_edited(tmp_path / "empty.json")


def test_other_artefacts_have_no_hash(tmp_path) -> None:
    path = tmp_path / "runs.json"
    sheet = {"stream": "s", "root": ".", "tasks": [], "config": {}, "runs": [], "provenance": {}}
    artifacts.write_json("runs", path, sheet)
    assert json.loads(path.read_text()) == sheet

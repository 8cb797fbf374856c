"""Readers and writers: round trips, determinism, refusals, nothing half-written."""

import json
import os

import pyarrow.parquet as pq
import pytest
import torch

from stages.core.base import artifacts, reading
from stages.core.base.errors import InputError

TRANSFER = {
    "task": "b",
    "step": 2,
    "parent": "a",
    "losses": {"a": 1 / 3},
    "require_threshold": False,
    "thresholds": None,
    "provenance": {},
}
PREDICTION = {"sample_id": "s1", "experts": ["t1", "t2"], "text": "a cat"}


def test_json_is_sorted_rounded_and_read_back(tmp_path):
    path = tmp_path / "transfer.json"
    artifacts.write_json("transfer", path, TRANSFER)
    assert '"a": 0.333333333\n' in path.read_text()
    keys = [line.split('"')[1] for line in path.read_text().splitlines() if line[:3] == '  "']
    assert keys == sorted([*TRANSFER, "content_sha256"])
    assert artifacts.read_json("transfer", path)["parent"] == "a"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"parent": 3}, r"transfer\.json: parent: 3 is not"),
        ({"parnet": "a"}, r"transfer\.json: parnet: unknown key.*mean 'parent'"),
    ],
)
def test_an_edited_json_that_violates_its_schema_names_the_key(tmp_path, edit, message):
    path = tmp_path / "transfer.json"
    path.write_text(json.dumps(TRANSFER | edit))
    with pytest.raises(InputError, match=message):
        artifacts.read_json("transfer", path)


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "transfer.json"
    path.write_text('{"task": "b",\n "step": }')
    with pytest.raises(InputError, match=r"not readable as JSON.*line 2"):
        artifacts.read_json("transfer", path)


def test_a_refused_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "transfer.json"
    artifacts.write_json("transfer", path, TRANSFER)
    before = path.read_bytes()
    with pytest.raises(InputError):
        artifacts.write_json("transfer", path, TRANSFER | {"step": "two"})
    with pytest.raises(ValueError, match="non-finite"):
        artifacts.write_json("transfer", path, TRANSFER | {"losses": {"a": float("nan")}})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["transfer.json"]


def test_a_table_carries_schema_version_and_provenance(tmp_path):
    path = tmp_path / "deep" / "predictions.parquet"
    artifacts.write_table("predictions", path, [PREDICTION], task="t", provenance={"seed": 1})
    assert artifacts.read_table("predictions", path).to_pylist() == [PREDICTION]
    assert artifacts.metadata(path) == {
        "schema": "predictions",
        "version": 1,
        "task": "t",
        "provenance": {"seed": 1},
    }
    assert artifacts.read_table("predictions", path, ["text"]).column_names == ["text"]


def test_another_artefact_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    artifacts.write_table("predictions", path, [PREDICTION], task="t", provenance={})
    with pytest.raises(InputError, match="expected 'routes' version 1, found 'predictions'"):
        artifacts.read_table("routes", path)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(artifacts.pa.table({"x": [1]}), foreign)
    with pytest.raises(InputError, match="not an artefact of this pipeline"):
        artifacts.read_table("routes", foreign)
    foreign.write_text("no parquet")
    with pytest.raises(InputError, match="not readable as Parquet"):
        artifacts.read_table("routes", foreign)


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def rows():
        yield PREDICTION
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        artifacts.write_table("predictions", tmp_path / "p.parquet", rows(), task="t")
    assert list(tmp_path.iterdir()) == []


def test_same_content_same_bytes(tmp_path):
    tensors = {"b": torch.ones(2, 3), "a": torch.zeros(1)}
    for name in ("one", "two"):
        artifacts.write_table("predictions", tmp_path / f"{name}.parquet", [PREDICTION], task="t")
        artifacts.write_weights(tmp_path / f"{name}.safetensors", tensors, {"seed": 0}, task="t")
        tensors = dict(reversed(tensors.items()))
    for kind in ("parquet", "safetensors"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two


def test_weights_round_trip_and_damage(tmp_path):
    path = tmp_path / "w.safetensors"
    artifacts.write_weights(path, {"a": torch.arange(3.0)}, {"seed": 0}, task="t")
    tensors, notes = reading.read_weights(path)
    assert tensors["a"].tolist() == [0.0, 1.0, 2.0]
    assert notes["task"] == "t"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="not readable as safetensors"):
        reading.read_weights(path)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_artefacts_follow_the_umask(tmp_path, mask, mode):
    """Colleagues of a project folder read each other's results."""
    before = os.umask(mask)
    try:
        artifacts.write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, {})
        artifacts.write_table("predictions", tmp_path / "t.parquet", [])
        assert os.umask(mask) == mask  # reading the mask has not changed it
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == mode, path.name

"""What is shipped of an aligned backbone, and what is refused."""

import hashlib
import json

import pytest

from stages.core.base.errors import InputError
from stages.pocket import export_backbone as stage

FIGURES = {
    "kind": {"n": 11, "accuracy": 61.25, "mean_over_kinds": 50.0},
    "box": {"n": 12, "mean_iou": 0.4567, "iou_above_half": 40.0},
    "caption": {"n": 13, "cider": 123.0},
    "only_box": {"n": 16, "mean_iou": 0.75, "iou_above_half": 90.0},
    "capitals": {"n": 17, "accuracy": 3.0, "similarity": 0.125},
    "word": {"n": 14, "accuracy": 1.0, "similarity": 0.5},
    "number": {"n": 15, "accuracy": 2.0, "similarity": 0.25},
}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def paths(tmp_path):
    """Arguments of export_backbone: delta, two folders, figures, manifest folder."""
    (tmp_path / "delta.safetensors").write_bytes(b"delta")
    (tmp_path / "evaluation.json").write_text(json.dumps(FIGURES))
    for name in ("aligned", "unaligned"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text(name)
        listed = {"model": _digest(name.encode())}
        (tmp_path / name / "checksums.json").write_text(json.dumps(listed))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "manifest.json").write_text('{"parts": {"a": 1}}')
    (shipped / "README.md").write_text(f"Before\n{stage.BEGIN}old\n{stage.END}After\n")
    names = ("delta.safetensors", "aligned", "unaligned", "evaluation.json", "shipped")
    return [tmp_path / name for name in names]


def test_checksums_delta_and_table_are_written(paths):
    stage.export_backbone(*paths)
    shipped = paths[-1]
    assert json.loads((shipped / "manifest.json").read_text()) == {
        "parts": {"a": 1},
        "delta_sha256": _digest(b"delta"),
        "assembled": {"model": _digest(b"aligned")},
        "assembled_without_delta": {"model": _digest(b"unaligned")},
    }
    assert (shipped / "delta.safetensors").read_bytes() == b"delta"
    assert json.loads((shipped / "evaluation.json").read_text()) == FIGURES
    text = (shipped / "README.md").read_text()
    assert text.startswith("Before\n")
    assert text.endswith("After\n")
    assert "old" not in text
    assert "| kind of object, 10 kinds, open answer | 11 | 61.2 % | >= 60 % |" in text
    assert "| box of a named object among three, mean IoU | 12 | 0.457 | >= 0.35 |" in text


def test_a_damaged_folder_is_not_shipped(paths):
    (paths[1] / "model").write_text("changed")
    before = (paths[-1] / "manifest.json").read_text()
    with pytest.raises(InputError, match="model not as pinned"):
        stage.export_backbone(*paths)
    assert (paths[-1] / "manifest.json").read_text() == before
    assert not (paths[-1] / "delta.safetensors").exists()


def test_too_large_a_delta_is_not_shipped(paths, monkeypatch):
    monkeypatch.setattr(stage, "LARGEST", 4)
    with pytest.raises(InputError, match="5 bytes, at most 4"):
        stage.export_backbone(*paths)


def test_a_readme_without_the_marks_is_an_error(paths):
    (paths[-1] / "README.md").write_text("nothing")
    with pytest.raises(InputError, match="figures"):
        stage.export_backbone(*paths)

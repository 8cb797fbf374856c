"""The paper's tasks where `data` is a link to a file system with more room, as on clusters."""

import shutil
from pathlib import Path

import pytest

from stages.core.base.errors import InputError
from stages.core.base.yaml_files import read_yaml
from stages.core.data.manifests import load_manifest

MANIFESTS = sorted(Path("data_manifests/cmit").glob("*.yaml"))


@pytest.fixture(params=MANIFESTS, ids=lambda path: path.stem)
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A manifest of a clone without data, beside a folder `scratch`."""
    copy = tmp_path / "clone/data_manifests/cmit" / request.param.name
    copy.parent.mkdir(parents=True)
    shutil.copy(request.param, copy)
    return copy


def fill(root: Path, manifest: Path) -> list[Path]:
    """Make the training files that a manifest names; their paths."""
    split = read_yaml(manifest)["train"]
    files = [root / split[key] for key in ("file", "annotations") if key in split]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
    return files


def test_data_may_be_a_link(manifest: Path, tmp_path: Path) -> None:
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    (scratch / "data").mkdir(parents=True)
    (clone / "data").symlink_to(scratch / "data")
    (file, *_) = fill(clone, manifest)
    assert load_manifest(manifest).split("train").file.samefile(file)


def test_a_folder_of_data_may_be_a_link(manifest: Path, tmp_path: Path) -> None:
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    name = Path(read_yaml(manifest)["train"]["file"]).parts[1]
    (scratch / name).mkdir(parents=True)
    (clone / "data").mkdir()
    (clone / "data" / name).symlink_to(scratch / name)
    fill(clone, manifest)
    assert load_manifest(manifest).split("train").file.is_file()


def test_a_file_of_it_that_leads_elsewhere_is_refused(manifest: Path, tmp_path: Path) -> None:
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    (scratch / "data").mkdir(parents=True)
    (clone / "data").symlink_to(scratch / "data")
    (file, *_) = fill(clone, manifest)
    (tmp_path / "secret").write_text("{}\n")
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the data root"):
        load_manifest(manifest).split("train")

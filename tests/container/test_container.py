"""The image of `make image DEVICE=cpu`: what is in it, and the tiny stream in it for real."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.helpers.project import SOURCE, Project

pytestmark = pytest.mark.container

VERSION = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]["version"]
IMAGE = SOURCE / f"results/images/cmit-pipeline_{VERSION}.sif"
MODULES = "stages.core.training.trainer, stages.core.experts.lora, datasets, peft, pyarrow, tqdm"
LIST_FILES = f"""
import json, sys
import {MODULES}
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
print(json.dumps(sorted(file for file in files if file and file.startswith("/"))))
"""


@pytest.fixture(scope="module")
def image() -> Path:
    """The image as apptainer reads it."""
    if shutil.which("apptainer") is None:
        pytest.skip("no apptainer: see https://apptainer.org/docs/admin/latest/installation.html")
    if not IMAGE.is_file():
        pytest.skip(f"no {IMAGE.relative_to(SOURCE)}: make image DEVICE=cpu")
    return IMAGE


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user whose own packages must not get into the container."""
    trap = tmp_path_factory.mktemp("host")
    user_site = trap / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for folder in (trap, user_site):
        for package in ("torch", "transformers"):
            (folder / package).mkdir(parents=True)
            fault = "raise RuntimeError('a package of the host was imported')\n"
            (folder / package / "__init__.py").write_text(fault)
    search = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PYTHONPATH": str(trap), "PYTHONUSERBASE": str(trap), "PATH": search}


def inside(image: Path, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in the container, in a folder that becomes its home."""
    command = ["apptainer", "exec", "--home", str(folder), str(image), "python", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_image_holds_dependencies_but_no_code_and_no_user_is_root(image: Path) -> None:
    shown = subprocess.run(
        ["apptainer", "inspect", "--json", "--labels", "--environment", str(image)],
        capture_output=True,
        text=True,
    )
    labels = json.loads(shown.stdout)["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    done = inside(image, Path("/tmp"), "import os; print(os.path.exists('/home/cmit/.cache'))")
    assert done.stdout.strip() == "False"
    done = inside(image, Path("/tmp"), "import stages")
    assert "No module named 'stages'" in done.stderr
    done = inside(image, Path("/tmp"), "import pwd; print(pwd.getpwuid(1000).pw_name)")
    assert done.stdout.strip() == "cmit"


def test_packages_are_the_images_own(image: Path) -> None:
    """Every module is a file of the image or of the working tree (or, as torch.ops, no file)."""
    done = inside(image, SOURCE, LIST_FILES)
    files = json.loads(done.stdout.splitlines()[-1])
    ours = [file for file in files if file.startswith(f"{SOURCE}/")]
    assert any(file.endswith("stages/core/training/trainer.py") for file in ours)
    assert not any("site-packages" in file for file in ours)
    assert all(file.startswith("/usr/") for file in set(files) - set(ours))


def test_the_tiny_stream_in_the_container_without_network(
    image: Path, host: dict[str, str], tmp_path: Path
) -> None:
    """In a network namespace of its own, where there is not even a loopback device up."""
    project = Project.fresh(tmp_path / "project")
    file = project.folder / project.config
    config = yaml.safe_load(file.read_text()) | {"methods": ["dmole"], "variants": {}}
    file.write_text(yaml.safe_dump(config | {"container": str(image)}))
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    done = subprocess.run(
        [*alone, *project.command] + ["--sdm", "apptainer", "--show-failed-logs", "--keep-going"],
        cwd=project.folder,
        env=host,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / "results/tiny/report.html").is_file()
    expert = project.folder / "results/tiny/seed0/dmole/experts/tiny_ground"
    assert (expert / "adapter_model.safetensors").is_file()


def test_data_outside_the_clone_are_there_once_they_are_bound(
    image: Path, host: dict[str, str], tmp_path: Path
) -> None:
    """On a site whose containers have no /tmp, which stands for a file system of data here."""
    project, scratch = Project.fresh(tmp_path / "project"), tmp_path / "scratch"
    shutil.copytree(SOURCE / "tests/data/tiny", scratch)
    file = project.folder / project.config
    config = yaml.safe_load(file.read_text()) | {"container": str(image)}
    file.write_text(yaml.safe_dump(config | {"data_root": str(scratch)}))
    rows = "results/tiny/data/tiny_choice/train.parquet"

    def prepare(arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*project.command[:3], rows, *project.command[3:], "--sdm", "apptainer"]
        command += ["--show-failed-logs", f"--apptainer-args={arguments}"]
        return subprocess.run(command, cwd=project.folder, env=host, capture_output=True, text=True)

    done = prepare("--no-mount=tmp")
    assert done.returncode != 0
    assert f"root: {scratch} is no folder" in done.stdout + done.stderr
    done = prepare(f"--no-mount=tmp --bind {scratch}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / rows).is_file()

"""The workflow runs from any working directory and from a clone in any path, read-only or not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.core.base.config import complete
from stages.core.base.errors import InputError
from tests.helpers.project import Project


def snakemake(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Snakemake as somebody calls it who stands in ``folder``."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """A clone in a path with spaces, an apostrophe and what a shell would run."""
    folder = tmp_path / "it's a $(touch pwned) clone; é"
    return Project.fresh(folder).folder


def test_another_working_directory_and_a_config_of_ones_own(awkward: Path, tmp_path: Path) -> None:
    """Manifests of the clone, the configuration, the backbone and the results of the user."""
    scratch = tmp_path / "my run"
    scratch.mkdir()
    text = (awkward / "workflow/config/tiny.yaml").read_text()
    (scratch / "my.yaml").write_text(text.partition("methods:")[0] + METHODS + tail(text))
    target = "results/tiny/seed0/zero_shot/predictions/tiny_ground.parquet"
    done = snakemake(
        tmp_path, target, "-s", awkward / "Snakefile", "--directory", scratch,
        "--configfile", scratch / "my.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (scratch / target).is_file()
    assert not (awkward / "results").exists()
    assert not list(tmp_path.rglob("pwned"))


METHODS = "methods: [zero_shot]\nbackbone:"


def tail(text: str) -> str:
    return text.partition("backbone:")[2]


def test_a_read_only_clone(awkward: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "run"
    scratch.mkdir()
    before = {path: path.stat().st_mtime_ns for path in awkward.rglob("*") if path.is_file()}
    config = awkward / "workflow/config/tiny.yaml"
    done = snakemake(scratch, "-n", "-s", awkward / "Snakefile", "--configfile", config)
    assert done.returncode == 0, done.stdout + done.stderr
    written = {
        path
        for path in awkward.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and before.get(path) is None
    }
    assert written == set()


def test_the_default_configuration_is_the_clones(awkward: Path, tmp_path: Path) -> None:
    done = snakemake(tmp_path, "-n", "-s", awkward / "Snakefile")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/pocket/report.html" in done.stdout + done.stderr


def test_the_catalogues_place_of_the_snakefile(awkward: Path, tmp_path: Path) -> None:
    config = awkward / "workflow/config/tiny.yaml"
    done = snakemake(tmp_path, "-n", "-s", awkward / "workflow/Snakefile", "--configfile", config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/tiny/report.html" in done.stdout + done.stderr


def test_as_a_module_of_another_workflow(awkward: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "Snakefile").write_text(
        f"configfile: {str(awkward / 'workflow/config/tiny.yaml')!r}\n\n"
        "module cmit:\n"
        f"    snakefile: {str(awkward / 'Snakefile')!r}\n"
        "    config: config\n\n"
        "use rule * from cmit as cmit_*\n\n"
        "rule all:\n    default_target: True\n    input: rules.cmit_all.input\n"
    )
    done = snakemake(mine, "-n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results/tiny/report.html" in done.stdout + done.stderr


def test_a_clone_below_a_colon_is_refused(tmp_path: Path) -> None:
    folder = Project.fresh(tmp_path / f"a{os.pathsep}b").folder
    done = snakemake(folder, "-n", "--configfile", "workflow/config/tiny.yaml")
    assert done.returncode != 0
    assert "a clone cannot lie in a path with ':'" in done.stdout + done.stderr


HOSTILE = [
    "with spaces",
    "it's",
    'say "hi"',
    "o$(touch pwned)",
    "o`touch pwned`",
    "o;touch pwned;",
    "o & touch pwned &",
    "o | touch pwned",
    "o > pwned",
    "*",
    "é 漢 🙂",
    "$HOME",
    "!!",
    "#x",
    "a/./b//",
]


@pytest.mark.parametrize("output", HOSTILE)
def test_no_folder_of_results_reaches_a_shell(fresh: Project, tmp_path: Path, output: str) -> None:
    """Every job's command line runs, with stages that only make their files."""
    project = fresh.copy(tmp_path / "project")
    text = (project.folder / "workflow/config/tiny.yaml").read_text()
    before, after = text.partition("methods:")[0], text.partition("backbone:")[2]
    path = project.folder / "my config.yaml"
    path.write_text(f"{before}methods: [dmole, seq_ft]\nbackbone:{after}")
    content = yaml.safe_load(path.read_text()) | {"output": output}
    path.write_text(yaml.safe_dump(content, allow_unicode=True))
    project.config = path.name
    project.pretend()
    assert (project.folder / output / "tiny/report.html").is_file()
    assert (project.folder / output / "tiny/seed0/dmole/experts/tiny_ground/content").is_file()
    assert not list(tmp_path.rglob("pwned*"))


@pytest.mark.parametrize("key", ["output", "manifests", "data_root", "backbone.path"])
@pytest.mark.parametrize("value", ["", "-rf", "~/x", "a\nb", "a\x00b", "x\n"])
def test_paths_that_cannot_work_are_refused_in_one_sentence(key: str, value: str) -> None:
    config = {"stream": "s", "manifests": "m", "tasks": ["t"], "backbone": {"path": "b"}}
    place, _, last = key.rpartition(".")
    (config[place] if place else config)[last] = value
    with pytest.raises(InputError) as caught:
        complete(config, "my.yaml")
    message = str(caught.value)
    assert message.startswith(f"my.yaml: {key}: {value!r}: expected a ")
    assert "\n" not in message


@pytest.mark.parametrize("value", ["a{b}", "}"])
def test_braces_in_the_folder_of_results_are_refused(value: str) -> None:
    config = {"stream": "s", "manifests": "m", "tasks": ["t"], "backbone": {"path": "b"}}
    with pytest.raises(InputError, match="output: .*no braces"):
        complete(config | {"output": value}, "my.yaml")


@pytest.mark.parametrize("name", ["x\n", "a b", "../x", "$(x)", ""])
def test_names_are_plain_words(name: str) -> None:
    config = {"stream": "s", "manifests": "m", "tasks": ["t"], "backbone": {"path": "b"}}
    for changed in ({"stream": name}, {"tasks": [name]}, {"sweep": name}):
        with pytest.raises(InputError):
            complete(config | changed, "my.yaml")

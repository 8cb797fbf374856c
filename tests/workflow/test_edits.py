"""What a person edited is named by a dry run and never overwritten by a run."""

import json
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from stages.tools import discard_edits
from tests.helpers.decisions import allocation, router, transfer
from tests.helpers.project import HERE, Project

SEED = "results/tiny/seed0"
ROUTER = f"{SEED}/routers/tiny_choice.json"
ALLOCATION = f"{SEED}/allocations/tiny_choice.json"
TRANSFER = f"{SEED}/transfers/tiny_choice.json"
EDITS = {
    ROUTER: json.dumps(router("tiny_choice") | {"threshold": 2.0}),
    ALLOCATION: json.dumps(allocation("tiny_choice") | {"budget": 1}),
    TRANSFER: json.dumps(transfer("tiny_choice", "tiny_caption") | {"parent": None}),
}


@pytest.fixture
def edited(finished: Project) -> Project:
    """All outputs are there, and three of them edited."""
    for file, text in EDITS.items():
        (finished.folder / file).write_text(text)
    return finished


def change_code(project: Project, module: str) -> None:
    with (project.folder / "stages" / module).open("a") as code:
        code.write("\nCHANGED = 1\n")


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A real run, whose jobs only make empty files."""
    return project.snakemake(*arguments, BASH_ENV=str(HERE / "fake_python.sh"))


def shown(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def stops(project: Project, *arguments: str, files: set[str]) -> None:
    """The run ends before its first job, names these files, and leaves everything as it was."""
    before = {path: path.read_bytes() for path in content(project)}
    done = run(project, *arguments)
    assert done.returncode == 1
    message = shown(done).partition("edited files would be overwritten:\n")[2]
    assert {word for word in (ROUTER, ALLOCATION, TRANSFER) if f"  {word}: " in message} == files
    assert "overrides:" in message and "cmit discard-edits" in message
    assert {path: path.read_bytes() for path in content(project)} == before


def content(project: Project) -> list[Path]:
    return sorted(path for path in (project.folder / "results").rglob("*") if path.is_file())


def test_a_dry_run_names_what_was_edited_and_the_rule(edited: Project) -> None:
    lines = [line for line in shown(edited.snakemake("-n")).splitlines() if "edited: " in line]
    assert len(lines) == 3
    for file, rule in (
        (ROUTER, "fit_router"),
        (ALLOCATION, "allocate_experts"),
        (TRANSFER, "choose_parent"),
    ):
        assert any(file in line and rule in line for line in lines)


def test_nothing_is_named_where_nothing_was_edited(pretended: Project) -> None:
    assert "edited" not in shown(pretended.snakemake("-n"))


def test_a_run_that_only_reads_the_edits_goes_on(edited: Project) -> None:
    assert run(edited).returncode == 0
    assert (edited.folder / ROUTER).read_text() == EDITS[ROUTER]
    assert edited.plan() == []


@pytest.mark.parametrize(
    ("module", "files"),
    [
        ("fit_router.py", {ROUTER, TRANSFER}),  # the parent of one depends on the router of another
        ("allocate_experts.py", {ALLOCATION}),
        ("core/dmole/parent.py", {TRANSFER}),
    ],
)
def test_an_edit_of_code_overwrites_nothing(edited: Project, module: str, files: set) -> None:
    change_code(edited, module)
    assert edited.snakemake("-n").returncode == 0
    stops(edited, files=files)
    stops(edited, "--rerun-incomplete", "--keep-going", files=files)


def test_a_forced_job_overwrites_nothing(edited: Project) -> None:
    stops(edited, "--forcerun", "allocate_experts", files={ALLOCATION})
    stops(edited, "--forceall", files={ROUTER, ALLOCATION, TRANSFER})


def test_what_lies_upstream_can_be_deleted(edited: Project) -> None:
    for file in ("profiles/tiny_choice.parquet", "routers/tiny_choice.safetensors"):
        (edited.folder / SEED / file).unlink()
    stops(edited, files={ALLOCATION, ROUTER})


def test_an_unfinished_job_overwrites_nothing(edited: Project) -> None:
    """Snakemake was killed while the job ran: its marker of unfinished outputs is left."""
    name = urlsafe_b64encode(ROUTER.encode()).decode()
    (edited.folder / ".snakemake/incomplete" / name).write_text('{"external_jobid": null}')
    stops(edited, "--rerun-incomplete", files={ROUTER})


def test_a_run_of_other_jobs_goes_on(edited: Project) -> None:
    change_code(edited, "core/evaluation/scores.py")
    assert run(edited).returncode == 0


def test_touch_accepts_edits(edited: Project) -> None:
    change_code(edited, "fit_router.py")
    assert edited.snakemake("--touch").returncode == 0
    assert (edited.folder / ROUTER).read_text() == EDITS[ROUTER]
    assert edited.plan() == []


def test_a_job_that_failed_has_not_touched_edits_of_others(edited: Project) -> None:
    """Jobs that fail delete their own outputs, which were as the stages wrote them."""
    (edited.folder / SEED / "profiles/tiny_ground.parquet").unlink()
    failing = edited.folder / "failing.sh"
    failing.write_text("python() { return 1; }\n")
    done = edited.snakemake("--keep-going", BASH_ENV=str(failing))
    assert done.returncode == 1 and "would be overwritten" not in shown(done)
    assert (edited.folder / ALLOCATION).read_text() == EDITS[ALLOCATION]
    assert edited.plan() != []


def test_a_discarded_edit_is_made_again(edited: Project) -> None:
    discard_edits.main([str(edited.folder / ALLOCATION)])
    jobs = {(job.rule, job.task) for job in edited.plan()}
    assert ("allocate_experts", "tiny_choice") in jobs
    assert not {rule for rule, _ in jobs} & {"fit_router", "choose_parent"}


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (
            TRANSFER,
            transfer("tiny_choice", None) | {"parent": "tiny_ground"},
            "is not learnt before",
        ),
        (ROUTER, router("tiny_choice") | {"threshold": -1}, "threshold: -1 is less than"),
        (
            ROUTER,
            router("tiny_choice") | {"threshold": float("inf")},
            "threshold: inf is no number",
        ),
        (
            ALLOCATION,
            allocation("tiny_ground") | {"budget": 1},
            "of task 'tiny_ground', expected 'tiny_choice'",
        ),
    ],
)
def test_an_edit_that_makes_no_sense_ends_at_once(
    finished: Project, file: str, edit: dict, message: str
) -> None:
    (finished.folder / file).write_text(json.dumps(edit))
    done = finished.snakemake("-n")
    assert done.returncode == 1
    (line,) = (line for line in shown(done).splitlines() if "error: " in line)
    assert file in line and message in line and f"cmit discard-edits {file}" in line

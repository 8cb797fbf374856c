"""Costly outputs are moved aside for their job, which may take them back; jobs only pretend."""

from pathlib import Path

import pytest

from tests.helpers.project import HERE, Project

EXPERTS = Path("results/tiny/seed0/dmole/experts")
TARGET = EXPERTS / "tiny_ground"


@pytest.fixture
def due(finished: Project) -> Project:
    """A run whose expert would be trained again: a file in it tells the old from a new one."""
    (finished.folder / TARGET / "old").touch()
    config = finished.folder / finished.config
    config.write_text(config.read_text().replace("checkpoint_steps: 2", "checkpoint_steps: 3"))
    return finished


def run_times(project: Project) -> str:
    file = "results/tiny/benchmarks/train_expert/seed0/dmole/tiny_ground.tsv"
    return (project.folder / file).read_text()


def hidden(project: Project) -> list[str]:
    found = (project.folder / "results/tiny").rglob(".*.before")
    return sorted(path.name for path in found)


def test_what_is_taken_back_keeps_its_run_times_and_is_up_to_date(due: Project) -> None:
    before = run_times(due)
    due.carry_on(str(TARGET), TAKE_BACK="yes")
    assert (due.folder / TARGET / "old").exists()
    assert run_times(due) == before
    assert hidden(due) == []
    assert due.plan(str(TARGET)) == []


def test_what_is_made_anew_drops_the_old(due: Project) -> None:
    before = run_times(due)
    due.carry_on(str(TARGET))
    assert not (due.folder / TARGET / "old").exists()
    assert run_times(due) != before
    assert hidden(due) == []


def test_what_is_forced_is_made_anew(due: Project) -> None:
    due.carry_on("--forcerun", "train_expert", "--", str(TARGET), TAKE_BACK="yes")
    assert not (due.folder / TARGET / "old").exists()
    assert hidden(due) == []


def test_the_old_waits_until_a_job_has_succeeded(due: Project) -> None:
    done = due.snakemake(str(TARGET), BASH_ENV=str(HERE / "fake_python.sh"), FAIL="yes")
    assert done.returncode != 0
    assert ".tiny_ground.before" in hidden(due)
    assert [job.task for job in due.plan(str(TARGET))][-1:] == ["tiny_ground"]
    due.carry_on(str(TARGET), TAKE_BACK="yes")
    assert (due.folder / TARGET / "old").exists()
    assert hidden(due) == []

"""General benchmarks: no job unless the configuration names some, then one a run."""

from importlib.util import find_spec

import pytest

from tests.helpers.project import Project
from tests.workflow.test_dag import reconfigured


def test_a_job_for_every_run_that_need_not_be_told_the_task(fresh: Project, tmp_path) -> None:
    project = fresh.copy(tmp_path / "project")
    (project.folder / "lmms_eval").mkdir()  # stands for the package
    (project.folder / "lmms_eval/__init__.py").touch()
    project = reconfigured(project, tmp_path, general={"tasks": ["mme", "pope"], "limit": 7})
    every = project.plan()
    jobs = [job for job in every if job.rule == "general"]
    runs = ("dmole", "rank_routing", "seq_ft", "zero_shot")  # individual is told the task
    made = {f"results/tiny/seed0/{run}/general.json" for run in runs}
    assert {file for job in jobs for file in job.output} == made
    assert all("results/tiny/metrics.json" in job.input for job in jobs)
    (report,) = (job for job in every if job.rule == "report")
    assert made <= set(report.input)


def test_without_the_package_the_run_ends_before_its_first_job(fresh: Project, tmp_path) -> None:
    if find_spec("lmms_eval"):
        pytest.skip("lmms-eval is installed")
    done = reconfigured(fresh, tmp_path, general={"tasks": ["pope"]}).snakemake("--dry-run")
    assert done.returncode == 1
    assert "error: general.tasks: cmit general needs lmms-eval" in done.stdout + done.stderr

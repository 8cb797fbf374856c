"""The target that asks finished runs in other words."""

from tests.helpers.project import Project


def test_one_job_for_each_run(pretended: Project) -> None:
    """Not part of `all`, and each writes where the run sheet's list says."""
    jobs = [job for job in pretended.plan("robust") if job.rule != "robust"]
    runs = ("dmole", "rank_routing", "seq_ft", "individual", "zero_shot")
    assert {(job.rule, job.scope) for job in jobs} == {
        ("ask_in_other_words", f"seed0/{run}") for run in runs
    }
    for job in jobs:
        assert job.output == (f"results/tiny/{job.scope}/robust.json",)
        assert {"results/tiny/runs.json", "results/tiny/metrics.json"} <= set(job.input)
        assert "tests/data/tiny/tiny_choice.yaml" in job.input

"""The target that asks finished runs in other words."""

from tests.helpers.project import Project


def test_one_job_for_each_run_that_routes(pretended: Project) -> None:
    """Of the finished runs seq_ft, individual and zero_shot have no routers; not part of `all`."""
    jobs = [job for job in pretended.plan("robust") if job.rule != "robust"]
    assert {(job.rule, job.scope) for job in jobs} == {
        ("ask_in_other_words", "seed0/dmole"),
        ("ask_in_other_words", "seed0/rank_routing"),
    }
    for job in jobs:
        assert job.output == (f"results/tiny/{job.scope}/robust.json",)
        assert {"results/tiny/runs.json", "results/tiny/metrics.json"} <= set(job.input)
        assert "tests/data/tiny/tiny_choice.yaml" in job.input

"""What a submission asks for, and what the answers of SLURM mean."""

from pathlib import Path

import pytest

from stages.core.cluster.submission import cause, gpus_asked, grown, is_busy, is_full, waits_for

POLICY = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)"


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect"
        " failure)",
        "sbatch: error: Batch job submission failed: Unexpected message received",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}",
        f"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}",
    ],
)
def test_what_goes_away_by_itself(message: str) -> None:
    assert is_busy(message)
    assert is_full(message) is ("SubmitJob" in message)


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: error: invalid partition specified: gpus",
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        f"sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: {POLICY}",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition"
        " combination specified",
    ],
)
def test_what_does_not_go_away(message: str) -> None:
    assert not is_busy(message)


@pytest.mark.parametrize(
    ("state", "log", "expected"),
    [
        ("TIMEOUT", "", "time"),
        ("OUT_OF_MEMORY", "", "memory"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.\n", "memory"),
        ("FAILED", "slurmstepd-n1: error: Exceeded job memory limit\n", "memory"),
        ("FAILED", "x\nslurmstepd: error: StepId=7.0 exceeded memory limit (9 > 3)\n", "memory"),
        ("FAILED", "srun: error: node1: task 0: Out Of Memory\n", "memory"),
        ("FAILED", "torch.OutOfMemoryError: CUDA out of memory.\n", ""),
        ("FAILED", "error: manifest.yaml: key train: missing\n", ""),
        ("CANCELLED", "slurmstepd: error: *** JOB 7 CANCELLED ***\n", ""),
    ],
)
def test_why_a_job_failed(tmp_path: Path, state: str, log: str, expected: str) -> None:
    file = tmp_path / "7.log"
    file.write_text(log)
    assert cause(state, file) == expected


def test_a_log_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert cause("FAILED", tmp_path / "none.log") == ""
    assert cause("FAILED", None) == ""


@pytest.mark.parametrize(
    ("failures", "limit", "expected"),
    [(0, None, 100), (1, None, 200), (2, 250, 250), (0, 60, 60)],
)
def test_amounts_grow_with_failures_up_to_a_limit(
    failures: int, limit: int | None, expected: int
) -> None:
    assert grown(100, failures, limit) == expected


@pytest.mark.parametrize(
    ("flag", "model", "expected"),
    [
        ("", "", " --gpus=4"),
        ("gpus", "a100", " --gpus=a100:4"),
        ("gpus-per-node", "nvidia_a100-sxm4-80gb", " --gpus-per-node=nvidia_a100-sxm4-80gb:4"),
        ("gres", "", " --gres=gpu:4"),
        ("gres", "nvidia_a100-sxm4-80gb", " --gres=gpu:nvidia_a100-sxm4-80gb:4"),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants(flag: str, model: str, expected: str) -> None:
    assert gpus_asked(flag, 4, model) == expected
    assert gpus_asked(flag, 0, model) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "others come first"),
        ("PartitionTimeLimit", "will never start"),
        ("QOSMaxJobsPerUserLimit", "a limit of the account or QOS"),
        ("AssocGrpGRES", "a limit of the account or QOS"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "are down, or reserved"),
        ("Licenses", "Licenses"),
    ],
)
def test_reasons_for_waiting_are_explained(reason: str, words: str) -> None:
    assert waits_for(reason).startswith(reason)
    assert words in waits_for(reason)

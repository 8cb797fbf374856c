"""The same command where SLURM keeps accounts and their jobs in a database."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.user import User

pytestmark = pytest.mark.cluster

DATA = Path("results/tiny/data")


@pytest.fixture(scope="module")
def user(site: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Somebody of the account `lab`."""
    with User.at(site, tmp_path_factory.mktemp("clone")) as user:
        yield user


def charged(site: Cluster, account: str) -> list[str]:
    """States of the jobs that were charged to an account."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=State"]
    return site.call(*command, f"--accounts={account}").split()


@pytest.mark.parametrize(
    ("task", "seconds", "asked_sacct"),
    [("tiny_caption", 5, False), ("tiny_choice", 25, True)],
    ids=["squeue", "sacct, since the controller forgets sooner than three looks"],
)
def test_jobs_run_in_the_account_and_are_seen_to_end(
    site: Cluster, user: User, task: str, seconds: int, asked_sacct: bool
) -> None:
    before = charged(site, "lab")
    looks = ["--slurm-init-seconds-before-status-checks", str(seconds)]
    code, messages, _ = user.run(f"{DATA}/{task}/train.parquet", *looks, CMIT_SLURM_ACCOUNT="lab")
    assert code == 0, messages
    assert ("Falling back to 'sacct'" in messages) is asked_sacct
    assert charged(site, "lab")[len(before) :] == ["COMPLETED"]


def test_a_wrong_account_is_named_and_harms_nothing(user: User) -> None:
    done = user.project.folder / DATA / "tiny_caption/train.parquet"
    assert done.is_file()
    code, messages, jobs = user.run(f"{DATA}/tiny_ground/train.parquet", CMIT_SLURM_ACCOUNT="labb")
    assert code != 0
    assert jobs == []
    assert "The given account labb appears to be invalid. Available accounts:" in messages
    assert re.search(r"Available accounts:\s+(\w+, )*lab\b", messages)
    assert "Traceback" not in messages
    assert done.is_file()

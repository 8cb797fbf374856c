"""The same command where SLURM keeps accounts and their jobs in a database."""

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


def test_jobs_run_in_the_account_and_are_seen_to_end(site: Cluster, user: User) -> None:
    before = charged(site, "lab")
    code, messages, _ = user.run(f"{DATA}/tiny_caption/train.parquet", CMIT_SLURM_ACCOUNT="lab")
    assert code == 0, messages
    assert charged(site, "lab")[len(before) :] == ["COMPLETED"]

"""A SLURM without accounting, one with, and one that forgets; each for all tests that want it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NEEDED, NEEDED_BY_DATABASE, Cluster

# daemons live in sbin, which not everybody's search path has
os.environ["PATH"] += ":/usr/sbin:/sbin"

# Two processes of pytest have clusters of their own, side by side.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _running(
    folder: Path, needed: tuple[str, ...], packages: str, *, port: int, **options: Any
) -> Iterator[Cluster]:
    if missing := [name for name in needed if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(missing)}: on Debian, apt-get install {packages}")
    slurm = Cluster(folder, port=port + 100 * WORKER, **options)
    slurm.up()
    yield slurm
    slurm.down()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running SLURM; skipped where it is not installed."""
    folder = tmp_path_factory.mktemp("slurm")
    yield from _running(folder, NEEDED, "slurm-wlm munge", port=26817)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One with the accounting database, where every job needs the account `lab`."""
    yield from _running(
        tmp_path_factory.mktemp("site"),
        NEEDED + NEEDED_BY_DATABASE,
        "slurm-wlm munge slurmdbd mariadb-server",
        database=True,
        port=27817,
        remembers=60,
    )


@pytest.fixture(scope="session")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of two nodes without accounting that forgets finished jobs after ten seconds."""
    folder = tmp_path_factory.mktemp("forgetful")
    yield from _running(folder, NEEDED, "slurm-wlm munge", port=28817, nodes=2, remembers=10)

"""One SLURM for all tests of this folder."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import NEEDED, Cluster

# daemons live in sbin, which not everybody's search path has
os.environ["PATH"] += ":/usr/sbin:/sbin"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running SLURM; skipped where it is not installed."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"no {', '.join(missing)}: on Debian, apt-get install slurm-wlm munge")
    slurm = Cluster(tmp_path_factory.mktemp("slurm"))
    slurm.up()
    yield slurm
    slurm.down()

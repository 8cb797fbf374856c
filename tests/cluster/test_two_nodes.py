"""A training on two nodes of SLURM, two processes each, over torch's CPU backend."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.cluster.cluster import Cluster, wait_for
from tests.helpers import gpu_stages
from tests.helpers.project import SOURCE

pytestmark = pytest.mark.cluster

LAUNCH = ["-m", "stages.core.base.launch"]
CLOSE = 5e-6  # of the distance that B has come


@pytest.fixture(scope="module")
def given(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    gpu_stages.give(folder, tiny_folder)
    return folder


def train_on_two_nodes(cluster: Cluster, given: Path, out: Path, who: str) -> tuple[str, str]:
    """Train in a job of its own, where ``who`` ("last" or "nobody") is killed in the thirteenth
    step; the job's state, and what it said."""
    module = ["tests.helpers.told_to_stop", "train", who, "SIGKILL", str(given), str(out)]
    line = [sys.executable, *LAUNCH, "4", "--nodes", "2", "--cpus", "2", *module]
    script, said = out / "job.sh", out / "job.log"
    script.write_text(f"#!/bin/sh\nexec {' '.join(line)}\n")
    asked = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", f"--output={said}"]
    number = subprocess.run(
        ["sbatch", "--parsable", "--partition=main", *asked, str(script)],
        cwd=SOURCE,
        env=cluster.environment | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    def ended() -> str:
        shown = cluster.call("squeue", "--noheader", "--states=all", f"--jobs={number}", "-o%T")
        return "" if shown.strip() in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING") else shown

    state = str(wait_for(ended, 600))
    return state.strip(), said.read_text(errors="replace")  # two bars may mix


def test_the_expert_is_that_of_one_process(
    forgetful: Cluster, given: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, four = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("four")
    subprocess.run(
        [sys.executable, *LAUNCH, "1", "tests.helpers.told_to_stop", "train", "nobody", "SIGKILL"]
        + [str(given), str(one)],
        cwd=SOURCE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    state, said = train_on_two_nodes(forgetful, given, four, "nobody")
    assert state == "COMPLETED", said
    first, other = (load_file(f / "experts/b/adapter_model.safetensors") for f in (one, four))
    assert first.keys() == other.keys()
    for key in (key for key in first if "lora_B" in key):  # B starts at zero
        assert float((first[key] - other[key]).norm()) < CLOSE * float(first[key].norm())


def test_a_killed_process_ends_the_job_on_both_nodes(
    forgetful: Cluster, given: Path, tmp_path: Path
) -> None:
    """The last one, on the second node; the others wait for its gradients."""
    state, said = train_on_two_nodes(forgetful, given, tmp_path, "last")
    ended = time.time()
    assert state == "FAILED", said
    assert "error: process 3 of this job was killed by SIGKILL, as when memory runs out." in said
    assert not (tmp_path / "experts" / "b").exists()
    assert ended - (tmp_path / "told").stat().st_mtime < 60

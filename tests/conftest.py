"""Shared fixtures: a tiny random backbone and rows of the data artefact."""

import fcntl
import io
import os
import shutil
import subprocess

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Several tests run side by side: threads of their own would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest


def make_row(index: int, question: str, answer: str, size: tuple[int, int] = (50, 40)) -> dict:
    """One data row with a seeded noise image of ``size`` (width, height)."""
    from PIL import Image

    noise = np.random.default_rng(index).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return {
        "sample_id": f"s{index}",
        "images": [{"bytes": stream.getvalue(), "path": None}],
        "turns": [{"question": question, "answer": answer}],
        "references": [answer],
        "choices": None,
        "box": None,
        "width": size[0],
        "height": size[1],
    }


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of the tiny random InternVL."""
    from stages.tools.make_tiny_backbone import make_tiny_backbone

    folder = tmp_path_factory.mktemp("tiny") / "backbone"
    folder.mkdir()
    make_tiny_backbone(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def small_run(tiny_folder, tmp_path_factory) -> Path:
    """Results of a finished run of five methods, 34 test rows a task; the workers share them."""
    from tests.helpers.finished_run import FinishedRun

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small_run"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "small/metrics.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            methods = ["dmole", "seq_ft", "cram", "prog_lora_dynamic", "individual"]
            FinishedRun(folder, tiny_folder, methods, test_rows=34)
    return folder / "small"


@pytest.fixture
def tiny(tiny_folder):
    """The tiny backbone, loaded afresh (tests attach adapters to it)."""
    from stages.core.backbone.load import load_backbone

    return load_backbone(tiny_folder, {"dtype": "float32", "image_size": None, "max_tiles": 1})


@pytest.fixture
def rows():
    """Ten rows whose questions and answers differ in length."""
    return [
        make_row(i, "What is it? " * (i % 3 + 1), f"a thing of kind {'x' * (i % 4)}")
        for i in range(10)
    ]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KB that holds one finished artefact."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this machine does not let root mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)

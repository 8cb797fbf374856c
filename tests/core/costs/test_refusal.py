"""Batches that cannot fit are refused before the first job."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.costs.refusal import check_memory
from stages.core.runs.runs import Runs

TINY = {
    "stream": "tiny",
    "manifests": str(Path("tests/data/tiny").resolve()),
    "tasks": ["tiny_caption", "tiny_ground"],
    "methods": ["dmole", "cram"],  # what cram trains no formula says
}


def runs(folder, output, gigabytes, **changes):
    config = TINY | {"backbone": {"path": str(folder)}, "gpus": {"memory": gigabytes}}
    return Runs(complete(config | {"output": str(output)} | changes, "test"))


def test_what_fits_passes(tiny_folder, tmp_path):
    check_memory(runs(tiny_folder, tmp_path, 1))


def test_a_backbone_that_is_still_to_be_made_is_not_looked_at(tmp_path):
    check_memory(runs(tmp_path / "none", tmp_path, 1e-9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"batch_size": 64, "micro_batch_size": 64}},
            r"dmole, tiny_caption, train_expert: 64 samples at a time need .* GB, the GPU has "
            r"0.003 GB \(gpus.memory\). training.micro_batch_size: \d+ would fit, as auto chooses.",
        ),
        (
            {"prediction": {"batch_size": 5000}},
            r"predict_backbone: 5000 samples at a time need .*prediction.batch_size: \d+ would fit",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(tiny_folder, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check_memory(runs(tiny_folder, tmp_path, 0.003, **changes))


def test_a_gpu_too_small_for_one_sample_is_told_so(tiny_folder, tmp_path):
    with pytest.raises(InputError, match="Nor does one sample fit; lower backbone.max_tiles"):
        check_memory(runs(tiny_folder, tmp_path, 1e-6))

"""Every GPU stage goes on with smaller batches where memory does not suffice once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from stages.core.backbone import decoding, features, losses
from stages.core.base.errors import InputError
from stages.core.dmole.gradients import profile_gradients
from stages.core.training.trainer import ExpertTrainer
from tests.helpers import battery


def failing(function, calls):
    """The function, out of memory in these calls (from 0)."""
    count = iter(range(10**6))

    def called(*args, **kwargs):
        if next(count) in calls:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return function(*args, **kwargs)

    return called


def trained(tiny_folder, data, out, micro):
    """A job without dropout, whose masks would follow the shape of a batch."""
    settings = battery.config(epochs=1, batch_size=4, micro_batch_size=micro, checkpoint_steps=1)
    settings["expert"]["dropout"] = 0.0
    return battery.train("individual", "things", tiny_folder, data, out, settings)


@pytest.mark.parametrize("call", [0, 2])  # at once; in the third step, after two checkpoints
def test_a_training_goes_on_with_half_of_its_micro_batch(
    call, tiny_folder, tmp_path, monkeypatch, capfd
):
    data = battery.write_data(tmp_path)
    (tmp_path / "want").mkdir()
    (tmp_path / "got").mkdir()
    want = trained(tiny_folder, data, tmp_path / "want", 2)
    broken = failing(ExpertTrainer.compute_loss, {call})
    monkeypatch.setattr(ExpertTrainer, "compute_loss", lambda *a, **k: broken(*a, **k))
    got = trained(tiny_folder, data, tmp_path / "got", 4)
    assert "task things: out of GPU memory; going on with 2 at a time" in capfd.readouterr().err
    found, wanted = (torch.tensor(done.summary["loss"]) for done in (got, want))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    for key, value in want.weights().items():
        torch.testing.assert_close(got.weights()[key], value, rtol=1e-4, atol=1e-6)


def test_one_of_several_processes_ends_and_the_next_job_knows(tiny_folder, tmp_path, monkeypatch):
    from stages.core.base import distributed
    from stages.core.training.phases import MEMORY, Phases

    phases = Phases(None, {}, "things", 0, tmp_path / "checkpoints", {})

    def run(size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(InputError, match="with 8 samples at a time.*again.*with 4 at a time"):
        phases._noting(run, 8)
    note = json.loads((tmp_path / "checkpoints" / MEMORY).read_text())
    assert note == {"micro_batch_size": 4}
    assert phases._most() == 4


def test_a_profile_starts_its_fold_again(tiny, rows, monkeypatch, capsys):
    settings = {"loss": "sample_mean", "include_bias": False, "batch_size": 2}
    rows = rows * 2  # folds of two and three rows
    want = profile_gradients(tiny, rows, **settings)
    monkeypatch.setattr(losses, "sample_losses", failing(losses.sample_losses, {1}))
    got = profile_gradients(tiny, rows, **settings)
    assert "gradient profile: out of GPU memory; going on with 1" in capsys.readouterr().err
    for field in ("score", "standard_error", "mean_loss"):
        np.testing.assert_allclose([r[field] for r in got], [r[field] for r in want], rtol=1e-4)


def test_a_profile_with_checkpointing_has_the_same_norms(tiny, rows):
    settings = {"loss": "sample_mean", "include_bias": True, "batch_size": 2}
    plain, again = (profile_gradients(tiny, rows, checkpointing=on, **settings) for on in (0, 1))
    for field in ("score", "standard_error", "mean_loss"):
        np.testing.assert_allclose([r[field] for r in again], [r[field] for r in plain], rtol=1e-6)


def test_features_are_the_same(tiny, rows, monkeypatch):
    settings = {"style": "max", "normalize": True, "batch_size": 4}
    want = features.extract_features(tiny, rows, **settings)
    monkeypatch.setattr(features, "text_features", failing(features.text_features, {1}))
    np.testing.assert_allclose(features.extract_features(tiny, rows, **settings), want, atol=1e-6)


def test_answers_are_the_same(tiny, rows, monkeypatch):
    limits, done = {"max_new_tokens": 4, "min_new_tokens": 4}, []
    want = decoding.answer_rows(tiny, tiny.model, rows, limits, 5, {}, lambda texts: None)
    monkeypatch.setattr(decoding, "generate", failing(decoding.generate, {1}))
    got = decoding.answer_rows(tiny, tiny.model, rows, limits, 5, {}, done.append)
    assert got == want
    assert [len(part) for part in done] == [5, 5]  # parts that are kept stay whole batches

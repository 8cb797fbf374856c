"""Autoencoders, folds and quantiles against numpy."""

import numpy as np
import pytest
import torch

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.dmole import autoencoder, routers

ROUTER = {
    "hidden": 8,
    "output": "identity",
    "learning_rate": 1e-3,
    "final_learning_rate": None,
    "patience": None,
    "epochs": 3,
    "batch_size": 16,
    "min_steps": 0,
    "samples": None,
}


def rows(n: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=(n, dim))
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def fit(z: np.ndarray, steps: int = 10, seed: int = 0, **changes) -> autoencoder.Autoencoder:
    return autoencoder.fit(z, "t", ROUTER | changes, steps, np.random.default_rng(seed))


def numpy_losses(model: autoencoder.Autoencoder, z: np.ndarray) -> np.ndarray:
    """The loss written out in float64: no torch, all rows at once."""
    w = {name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    hidden = z.astype(np.float64) @ w["encoder.weight"].T + w["encoder.bias"]
    out = np.where(hidden > 0, hidden, 0) @ w["decoder.weight"].T + w["decoder.bias"]
    if model.output == "sigmoid":
        out = 1 / (1 + np.exp(-out))
    return ((out - z) ** 2).mean(axis=1)


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_losses_against_numpy(output: str) -> None:
    z = rows(40)
    model = fit(z, output=output)
    np.testing.assert_allclose(autoencoder.losses(model, z), numpy_losses(model, z), rtol=1e-5)


def test_a_loss_does_not_depend_on_the_batch() -> None:
    z = rows(33, dim=300)
    model = fit(z, hidden=64)
    together = autoencoder.losses(model, z)
    assert together.tolist() == [autoencoder.losses(model, row[None])[0] for row in z]
    assert together[::-1].tolist() == autoencoder.losses(model, z[::-1]).tolist()


@pytest.mark.parametrize(("dim", "hidden"), [(24, 8), (331, 37), (3072, 128)])
def test_a_loss_is_the_same_to_the_last_bit_in_any_batch_and_order(dim: int, hidden: int) -> None:
    """Rows split anew eight times, at random places and in random orders."""
    z, random = rows(150, dim), np.random.default_rng(1)
    model = fit(z, hidden=hidden)
    together = autoencoder.losses(model, z)
    for _ in range(8):
        parts = np.split(random.permutation(150), np.sort(random.integers(0, 150, 6)))
        found = np.full(150, np.nan)
        for part in parts:
            found[part] = autoencoder.losses(model, z[part])
        assert found.tolist() == together.tolist()


def test_neighbours_of_another_size_change_nothing() -> None:
    z = rows(70, dim=300)
    model = fit(z, hidden=64)
    loud = np.where(np.arange(70)[:, None] % 2, np.float32(1e6), np.float32(1)) * z
    alone, beside = autoencoder.losses(model, z), autoencoder.losses(model, loud)
    assert alone[::2].tolist() == beside[::2].tolist()


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_losses_are_those_of_single_rows_in_single_precision(output: str) -> None:
    """As they were computed before there were blocks."""
    z = rows(200, dim=768)
    model = fit(z, steps=300, hidden=128, output=output)
    row_by_row = [torch.nn.functional.mse_loss(model(r), r).item() for r in torch.from_numpy(z)]
    np.testing.assert_allclose(autoencoder.losses(model, z), row_by_row, rtol=1e-6)


class TestFit:
    def test_first_step_is_adam_on_the_mean_squared_error(self) -> None:
        """One step over all rows: every weight moves by the step size against its gradient."""
        z = rows(12)
        start, moved = fit(z, steps=0, batch_size=12), fit(z, steps=1, batch_size=12)
        w = {k: t.numpy().astype(np.float64) for k, t in start.state_dict().items()}
        hidden = z @ w["encoder.weight"].T + w["encoder.bias"]
        active = np.maximum(hidden, 0)
        error = 2 * (active @ w["decoder.weight"].T + w["decoder.bias"] - z) / z.size
        back = (error @ w["decoder.weight"]) * (hidden > 0)
        gradients = {
            "encoder.weight": back.T @ z,
            "encoder.bias": back.sum(0),
            "decoder.weight": error.T @ active,
            "decoder.bias": error.sum(0),
        }
        for name, gradient in gradients.items():
            step = moved.state_dict()[name].numpy() - w[name]
            clear = np.abs(gradient) > 1e-5  # Adam's epsilon blurs smaller ones
            assert clear.any()
            np.testing.assert_allclose(step[clear], -1e-3 * np.sign(gradient[clear]), rtol=2e-2)

    def test_initial_weights_are_uniform_within_the_fan_in(self) -> None:
        weights = fit(rows(4, dim=100), steps=0, hidden=400).state_dict()
        for name, fan_in in (("encoder", 100), ("decoder", 400)):
            for kind in ("weight", "bias"):
                scaled = weights[f"{name}.{kind}"].numpy() * fan_in**0.5
                assert 0.9 < np.abs(scaled).max() <= 1
                assert abs(scaled.std() - 3**-0.5) < 0.06

    def test_the_released_schedule_and_patience(self) -> None:
        """Against torch's own cosine and a loop written out; all rows are one batch."""
        z, epochs = rows(30), 60
        changes = {"learning_rate": 0.5, "final_learning_rate": 0.1, "batch_size": 1024}
        model, batch = fit(z, steps=0), torch.from_numpy(z)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=0.1)
        losses: list[float] = []
        for _ in range(epochs):
            optimizer.zero_grad()
            loss = (model(batch) - batch).square().mean()
            loss.backward()
            optimizer.step()
            cosine.step()
            losses.append(loss.item())
            if len(losses) > 3 and min(losses[-3:]) >= min(losses[:-3]):
                break
        assert 3 < len(losses) < epochs  # patience ended it
        found = fit(z, steps=epochs, patience=3, **changes)
        for ours, written in zip(found.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, written.detach(), rtol=1e-4, atol=1e-5)

    def test_steps(self) -> None:
        router = {"epochs": 100, "batch_size": 16, "min_steps": 1600}
        assert autoencoder.n_steps(64, router) == 1600
        assert autoencoder.n_steps(1770, router) == 11100  # 111 batches an epoch
        assert autoencoder.n_steps(17, router | {"min_steps": 0}) == 200

    def test_every_epoch_sees_every_row_once(self) -> None:
        stream = autoencoder._batches(10, 4, np.random.default_rng(0))
        epochs = [[next(stream).tolist() for _ in range(3)] for _ in range(3)]
        for epoch in epochs:
            assert [len(batch) for batch in epoch] == [4, 4, 2]
            assert sorted(sum(epoch, [])) == list(range(10))
        assert epochs[0] != epochs[1]

    def test_the_global_generator_neither_matters_nor_moves(self) -> None:
        torch.manual_seed(1)
        first, state = fit(rows(20)), torch.get_rng_state()
        torch.manual_seed(2)
        second = fit(rows(20))
        assert all(
            torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
        )
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)

    def test_all_is_computed_on_one_thread(self, monkeypatch) -> None:
        seen, relu, before = set(), autoencoder.F.relu, torch.get_num_threads()

        def watched(*args):
            seen.add(torch.get_num_threads())
            return relu(*args)

        monkeypatch.setattr(autoencoder.F, "relu", watched)
        try:
            torch.set_num_threads(2)
            autoencoder.losses(fit(rows(4), steps=1), rows(1))
            assert seen == {1}
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_more_steps_fit_better(self) -> None:
        z = rows(16)
        few, many = fit(z, steps=50), fit(z, steps=800)
        assert autoencoder.losses(many, z).mean() < 0.3 * autoencoder.losses(few, z).mean()


class TestOutOfFold:
    def test_folds_are_a_partition(self) -> None:
        parts = autoencoder.folds(13, 5, np.random.default_rng(0))
        assert sorted(map(len, parts)) == [2, 2, 3, 3, 3]
        assert sorted(np.concatenate(parts)) == list(range(13))

    def test_each_row_is_judged_by_a_model_that_did_not_see_it(self) -> None:
        """Rows are marked by themselves: a model fitted to its own row would reproduce it."""
        z, wide = np.eye(10, dtype=np.float32), {"hidden": 32, "learning_rate": 1e-2}
        found = autoencoder.out_of_fold_losses(
            z,
            "t",
            ROUTER | {"hidden": 32, "learning_rate": 1e-2},
            400,
            10,
            np.random.default_rng(0),
        )
        seen = autoencoder.losses(fit(z, steps=400, **wide), z)
        assert seen.max() < 0.01
        assert found.min() > 0.08  # 0.1 is what predicting 0 costs

    def test_too_few_rows(self) -> None:
        with pytest.raises(InputError, match="task 't': 4 feature rows.*threshold.folds = 5"):
            autoencoder.out_of_fold_losses(rows(4), "t", ROUTER, 1, 5, np.random.default_rng(0))


def test_summary_against_numpy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=101)
    ordered = np.sort(values)
    found = autoencoder.summary(values)
    for percent in (1, 5, 10, 25, 50, 75, 90, 95, 99):
        assert found[f"p{percent:02d}"] == pytest.approx(ordered[percent])  # 101 rows: no blending
    assert (found["min"], found["max"]) == (ordered[0], ordered[-1])
    assert found["mean"] == pytest.approx(values.sum() / 101)
    assert found["std"] == pytest.approx(np.sqrt(((values - values.mean()) ** 2).sum() / 101))


class TestFiles:
    def test_a_saved_model_gives_the_same_losses(self, tmp_path) -> None:
        z, path = rows(9), tmp_path / "r.safetensors"
        model = fit(z, output="sigmoid")
        routers.save(model, path, {"step": "test"})
        loaded = routers.load(path)
        assert (loaded.task, loaded.output, loaded.dim) == ("t", "sigmoid", 24)
        assert (autoencoder.losses(loaded, z) == autoencoder.losses(model, z)).all()

    def test_another_safetensors_file(self, tmp_path) -> None:
        path = tmp_path / "other.safetensors"
        artifacts.write_weights(path, {"x": torch.zeros(2)}, {})
        with pytest.raises(InputError, match=r"other.safetensors: not a router \(auto"):
            routers.load(path)

    def test_features_of_unequal_length(self, tmp_path) -> None:
        path = tmp_path / "f.parquet"
        ragged = [{"sample_id": "a", "z": [1.0, 2.0]}, {"sample_id": "b", "z": [1.0]}]
        artifacts.write_table("features", path, ragged, task="t", provenance={})
        with pytest.raises(InputError, match=r"f.parquet.*one common length, found \[1, 2\]"):
            routers.read_features(path)

    def test_no_features(self, tmp_path) -> None:
        path = tmp_path / "f.parquet"
        artifacts.write_table("features", path, [], task="t", provenance={})
        with pytest.raises(InputError, match="f.parquet.*found none"):
            routers.read_features(path)

    def test_a_broken_feature_names_the_sample(self, tmp_path) -> None:
        path = tmp_path / "f.parquet"
        broken = [{"sample_id": "a", "z": [1.0]}, {"sample_id": "b", "z": [float("nan")]}]
        artifacts.write_table("features", path, broken, task="t", provenance={})
        with pytest.raises(InputError, match="f.parquet: sample 'b'"):
            routers.read_features(path)

"""Thresholds: against numpy on the losses, and on rows that the router has not seen."""

import json

import numpy as np
import pytest

from stages import fit_router
from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError
from stages.core.dmole import autoencoder, routers
from tests.helpers.known_routers import cluster

ROUTER = {
    "kind": "autoencoder",
    "hidden": 16,
    "output": "identity",
    "learning_rate": 3e-3,
    "final_learning_rate": None,
    "patience": None,
    "epochs": 10,
    "batch_size": 16,
    "min_steps": 600,
    "samples": None,
}
THRESHOLD = {"calibration": "cross_fit", "folds": 5, "quantile": 0.99, "factor": 1.1}


def fit(z: np.ndarray, seed: int = 0, router: dict | None = None, **threshold):
    return fit_router.fit_router(
        z, "signs", seed, router=ROUTER | (router or {}), threshold=THRESHOLD | threshold
    )


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return cluster(64, task=0, seed=0)


@pytest.fixture(scope="module")
def fitted(z: np.ndarray):
    return fit(z)


def test_accepts_unseen_rows_of_the_task_and_rejects_another_one(fitted) -> None:
    model, content = fitted
    own = autoencoder.losses(model, cluster(400, task=0, seed=1))
    other = autoencoder.losses(model, cluster(400, task=1, seed=1))
    assert (own <= content["threshold"]).mean() > 0.97
    assert (other > content["threshold"]).all()


def test_rows_of_the_fit_say_too_little_about_unseen_rows(z, fitted) -> None:
    """What cross-fitting is for: in-fold losses are far lower than those of unseen rows."""
    model, content = fitted
    inside, outside = content["losses"]["in_fold"], content["losses"]["out_of_fold"]
    unseen = autoencoder.losses(model, cluster(400, task=0, seed=1))
    assert inside["p50"] < 0.8 * np.median(unseen)
    assert outside["p50"] == pytest.approx(np.median(unseen), rel=0.2)


def test_train_calibration_is_a_quantile_of_the_rows_of_the_fit(z) -> None:
    model, content = fit(z, calibration="train", quantile=0.75, factor=2.0)
    losses = np.sort(autoencoder.losses(model, z))
    place = 0.75 * 63  # linear interpolation between the order statistics
    below, above = losses[int(place)], losses[int(place) + 1]
    expected = below + (place - int(place)) * (above - below)
    assert content["calibration"]["quantile_value"] == pytest.approx(expected)
    assert content["threshold"] == pytest.approx(2 * expected)
    assert content["losses"]["out_of_fold"] is None
    assert content["calibration"]["folds"] is None


def test_cross_fit_threshold_is_a_quantile_of_the_rows_left_out(z) -> None:
    content = fit(z, quantile=0.5, factor=1.0)[1]
    assert content["threshold"] == pytest.approx(content["losses"]["out_of_fold"]["p50"])
    highest = fit(z, quantile=1.0, factor=1.5)[1]
    assert highest["threshold"] == pytest.approx(1.5 * highest["losses"]["out_of_fold"]["max"])


def test_the_autoencoder_is_the_same_under_either_calibration(z, fitted) -> None:
    literal = fit(z, calibration="train")[0].state_dict()
    for name, tensor in fitted[0].state_dict().items():
        assert (tensor == literal[name]).all()


def test_seed_and_rows_decide(z, fitted) -> None:
    again, other = fit(z)[1], fit(z, seed=1)[1]
    assert again == fitted[1]
    assert other["threshold"] != fitted[1]["threshold"]


def test_samples_caps_the_rows(z) -> None:
    few = {"samples": 20, "min_steps": 30, "epochs": 1}
    first, again, other = (fit(z, seed, few, calibration="train") for seed in (0, 0, 1))
    assert first[1]["n"] == 20
    assert first[1] == again[1]
    assert first[1] != other[1]
    assert fit(z, 0, few | {"samples": 500}, calibration="train")[1]["n"] == 64


def test_steps_are_recorded(z) -> None:
    content = fit(z, router={"epochs": 7, "min_steps": 0}, calibration="train")[1]
    assert content["steps"] == 7 * 4


def test_a_diverging_fit_says_so(z) -> None:
    with pytest.raises(InputError, match="task 'signs'.*diverged.*router.learning_rate"):
        fit(z, router={"learning_rate": 1e30}, calibration="train")


class TestCommand:
    config = {
        "router": ROUTER | {"epochs": 1, "min_steps": 5},
        "threshold": THRESHOLD,
    }

    def write(self, path, z: np.ndarray) -> None:
        table = [{"sample_id": f"s{i}", "z": row} for i, row in enumerate(z)]
        artifacts.write_table("features", path, table, task="signs", provenance={})

    def run(self, folder, name: str) -> None:
        argv = ["--features", str(folder / "f.parquet"), "--seed", "0"]
        argv += ["--out-weights", str(folder / f"{name}.safetensors")]
        argv += ["--out-json", str(folder / f"{name}.json"), "--config", json.dumps(self.config)]
        cli.run(fit_router.main, argv)

    def test_files(self, tmp_path, z) -> None:
        self.write(tmp_path / "f.parquet", z)
        self.run(tmp_path, "a")
        content = artifacts.read_json("router", tmp_path / "a.json")
        model = routers.load(tmp_path / "a.safetensors")
        assert (model.task, model.output, model.dim) == ("signs", "identity", 32)
        inside = autoencoder.losses(model, z)
        assert content["losses"]["in_fold"]["mean"] == pytest.approx(inside.mean())
        assert (content["n"], content["dim"], content["hidden"]) == (64, 32, 16)

    def test_same_input_same_bytes(self, tmp_path, z) -> None:
        self.write(tmp_path / "f.parquet", z)
        for name in ("a", "b"):
            self.run(tmp_path, name)
        for suffix in ("safetensors", "json"):
            first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
            assert first.read_bytes() == second.read_bytes()

    def test_fewer_rows_than_folds(self, tmp_path, z, capsys) -> None:
        self.write(tmp_path / "f.parquet", z[:3])
        with pytest.raises(SystemExit) as stop:
            self.run(tmp_path, "a")
        assert stop.value.code == 1
        assert "task 'signs': 3 feature rows are too few" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["f.parquet"]

    @pytest.mark.parametrize(
        ("key", "value"), [("threshold", -1), ("threshold", "high"), ("treshold", 1.0)]
    )
    def test_an_edit_that_breaks_the_schema_names_the_key(self, tmp_path, z, key, value) -> None:
        self.write(tmp_path / "f.parquet", z)
        self.run(tmp_path, "a")
        path = tmp_path / "a.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
        with pytest.raises(InputError, match=rf"a.json: {key}"):
            artifacts.read_json("router", path)

    def test_an_edited_threshold_stops_the_stage_before_it_reads_anything(
        self, tmp_path, capsys
    ) -> None:
        (tmp_path / "a.json").write_text('{"threshold": 0.5}')
        with pytest.raises(SystemExit):
            self.run(tmp_path, "a")  # there are no features
        assert f"{tmp_path / 'a.json'}: was edited" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]

"""sample_subset: size, order, randomness, metadata."""

import json

import pytest

from stages import sample_subset
from stages.core.base import artifacts, cli
from stages.core.base.errors import InputError

TASK = {"name": "things", "kind": "open_vqa", "metric": "accuracy", "max_new_tokens": 10}


@pytest.fixture
def data(tmp_path):
    def write(n, name="data.parquet"):
        rows = [
            {
                "sample_id": f"train/{i}",
                "images": [{"bytes": None, "path": f"{i}.png"}],
                "turns": [{"question": "Q", "answer": str(i)}],
                "references": [str(i)],
                "choices": None,
                "box": None,
                "width": 4,
                "height": 4,
            }
            for i in range(n)
        ]
        path = tmp_path / name
        artifacts.write_table("data", path, rows, task=TASK, provenance={})
        return path

    return write


def subset(data, out, seed=0, fraction=0.1, least=20):
    count = sample_subset.sample_subset(data, fraction, least, seed, out)
    rows = artifacts.read_table("data", out).to_pylist()
    assert len(rows) == count
    return rows


@pytest.mark.parametrize(
    ("n", "fraction", "least", "size"),
    [(300, 0.1, 20, 30), (100, 0.1, 20, 20), (15, 0.1, 20, 15), (40, 1.0, 0, 40), (60, 0.5, 1, 30)],
)
def test_size(data, tmp_path, n, fraction, least, size):
    assert len(subset(data(n), tmp_path / "out", fraction=fraction, least=least)) == size


def test_rows_are_unchanged_unique_and_in_order(data, tmp_path):
    path = data(300)
    rows = subset(path, tmp_path / "out")
    numbers = [int(row["sample_id"].removeprefix("train/")) for row in rows]
    assert numbers == sorted(set(numbers))
    everything = artifacts.read_table("data", path).to_pylist()
    assert rows == [everything[i] for i in numbers]


def test_the_seed_decides(data, tmp_path):
    path = data(300)
    same, again, other = (subset(path, tmp_path / "out", seed) for seed in (0, 0, 1))
    assert same == again
    assert same != other


def test_equal_input_gives_equal_bytes(data, tmp_path):
    path = data(100)
    for name in ("a", "b"):
        subset(path, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_metadata(data, tmp_path):
    subset(data(100), tmp_path / "out", seed=3)
    found = artifacts.metadata(tmp_path / "out")
    assert found["task"] == TASK
    assert found["provenance"]["seed"] == 3
    assert found["provenance"]["config"] == {"subset": {"fraction": 0.1, "min_samples": 20}}
    assert set(found["provenance"]["inputs"]) == {"data"}


@pytest.mark.parametrize(("fraction", "least"), [(0, 5), (-0.1, 5), (1.5, 5), (0.5, -1)])
def test_settings_out_of_range(data, tmp_path, fraction, least):
    with pytest.raises(InputError, match=r"subset\.(fraction|min_samples)"):
        subset(data(10), tmp_path / "out", fraction=fraction, least=least)
    assert not (tmp_path / "out").exists()


def test_an_empty_subset_is_an_error(data, tmp_path):
    with pytest.raises(InputError, match="empty subset"):
        subset(data(3), tmp_path / "out", fraction=0.1, least=0)


def test_command_line(data, tmp_path, capsys):
    config = json.dumps({"subset": {"fraction": 0.1, "min_samples": 5}})
    flags = ["--seed", "0", "--config", config, "--out", str(tmp_path / "out")]
    cli.run(sample_subset.main, ["--data", str(data(100)), *flags])
    assert "10 rows" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.run(sample_subset.main, ["--data", str(tmp_path / "absent"), *flags])
    assert stop.value.code == 1
    assert "error: " in capsys.readouterr().err

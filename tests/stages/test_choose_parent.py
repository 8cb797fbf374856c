"""Parents of hand-made loss tables, and of routers whose losses are known exactly."""

import json

import numpy as np
import pytest

from stages import choose_parent
from stages.core.base import artifacts, cli
from tests.helpers.known_routers import write_constant_router

choose = choose_parent.choose_parent


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({}, None),
        ({"a": 3.0}, "a"),
        ({"a": 3.0, "b": 1.0, "c": 2.0}, "b"),
        ({"b": 1.0, "a": 1.0}, "b"),  # ties: the earlier in the stream
    ],
)
def test_lowest_mean_loss(losses: dict, expected: str | None) -> None:
    assert choose(losses, None) == expected


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ({"a": 5, "b": 5}, "b"),
        ({"a": 5, "b": 1.0}, "b"),  # equal to the threshold is under it
        ({"a": 5, "b": 0.5}, "a"),
        ({"a": 0.5, "b": 0.5}, None),
    ],
)
def test_required_threshold(thresholds: dict, expected: str | None) -> None:
    assert choose({"a": 3.0, "b": 1.0}, thresholds) == expected


def test_disabled() -> None:
    assert choose({"a": 3.0}, None, enabled=False) is None


class TestCommand:
    """Under constant routers: the loss of a row is its mean squared distance from the bias."""

    rows = np.array([[1, 0], [0, 1]], dtype=np.float32)
    biases = {"a": [0.0, 0.0], "b": [1.0, 0.0], "c": [0.5, 0.5]}
    mean_losses = {"a": 0.5, "b": 0.5, "c": 0.25}  # mean over two rows and two features

    @pytest.fixture
    def folder(self, tmp_path):
        table = [{"sample_id": f"s{i}", "z": row} for i, row in enumerate(self.rows)]
        artifacts.write_table("features", tmp_path / "d.parquet", table, task="d", provenance={})
        for task, bias in self.biases.items():
            write_constant_router(tmp_path, task, bias)
        return tmp_path

    def run(self, folder, earlier: str, *extra: str, task: str = "d", **transfer: bool) -> dict:
        config = {"transfer": {"enabled": True, "require_threshold": False} | transfer}
        argv = ["--features", str(folder / "d.parquet"), "--task", task, "--earlier", *earlier]
        argv += ["--routers", *(str(folder / f"{name}.safetensors") for name in earlier)]
        argv += [*extra, "--config", json.dumps(config), "--out", str(folder / "out.json")]
        cli.run(choose_parent.main, argv)
        return artifacts.read_json("transfer", folder / "out.json")

    def fails(self, capsys, *args, **kwargs) -> str:
        with pytest.raises(SystemExit) as stop:
            self.run(*args, **kwargs)
        assert stop.value.code == 1
        assert not (args[0] / "out.json").exists()
        return capsys.readouterr().err

    def test_mean_losses_and_parent(self, folder) -> None:
        found = self.run(folder, "abc")
        assert found["losses"] == self.mean_losses
        assert (found["task"], found["step"], found["parent"]) == ("d", 4, "c")
        assert (found["require_threshold"], found["thresholds"]) == (False, None)

    def test_ties_go_to_the_earlier_task_of_the_stream(self, folder) -> None:
        assert self.run(folder, "ab")["parent"] == "a"
        assert self.run(folder, "ba")["parent"] == "b"

    def test_the_first_task_has_no_parent(self, folder) -> None:
        found = self.run(folder, "")
        assert (found["step"], found["parent"], found["losses"]) == (1, None, {})

    def test_transfer_switched_off(self, folder) -> None:
        assert self.run(folder, "abc", enabled=False)["parent"] is None

    def test_required_thresholds_are_read_from_the_files(self, folder) -> None:
        for task, threshold in (("a", 0.6), ("c", 0.2)):
            write_constant_router(folder, task, self.biases[task], threshold)
        files = ["--thresholds", str(folder / "a.json"), str(folder / "c.json")]
        found = self.run(folder, "ac", *files, require_threshold=True)
        assert found["parent"] == "a"
        assert found["thresholds"] == {"a": 0.6, "c": 0.2}

    def test_required_thresholds_are_missing(self, folder, capsys) -> None:
        message = self.fails(capsys, folder, "ac", require_threshold=True)
        assert "--thresholds: 0 files for 2 tasks (a, c)" in message

    def test_dimensions_that_disagree_name_both_files(self, folder, capsys) -> None:
        write_constant_router(folder, "a", [0.0, 0.0, 0.0])
        message = self.fails(capsys, folder, "ab")
        assert "a.safetensors" in message
        assert "d.parquet" in message
        assert "takes 3 features" in message

    def test_routers_in_another_order(self, folder, capsys) -> None:
        (folder / "a.safetensors").rename(folder / "old.safetensors")
        (folder / "b.safetensors").rename(folder / "a.safetensors")
        assert "made for task 'b', expected 'a'" in self.fails(capsys, folder, "a")

    def test_features_of_another_task(self, folder, capsys) -> None:
        assert "features of task 'd', expected 'e'" in self.fails(capsys, folder, "a", task="e")

    def test_a_damaged_router(self, folder, capsys) -> None:
        (folder / "a.safetensors").write_bytes(b"not weights")
        assert "a.safetensors: not readable" in self.fails(capsys, folder, "a")

    def test_same_input_same_bytes(self, folder) -> None:
        self.run(folder, "abc")
        first = (folder / "out.json").read_bytes()
        self.run(folder, "abc")
        assert (folder / "out.json").read_bytes() == first

    def test_an_edited_parent_is_not_overwritten(self, folder, capsys) -> None:
        self.run(folder, "abc")
        out = folder / "out.json"
        edited = out.read_text().replace('"parent": "c"', '"parent": "a"')
        out.write_text(edited)
        with pytest.raises(SystemExit):
            self.run(folder, "abc")
        assert "was edited" in capsys.readouterr().err
        assert out.read_text() == edited

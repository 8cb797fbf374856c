"""Routes of static methods and of routers whose losses are known exactly."""

import json

import numpy as np
import pytest

from stages import route_samples
from stages.core.base import artifacts, cli
from stages.methods import registry as methods
from stages.methods.base import Method
from tests.helpers.known_routers import write_constant_router

TASKS = ["a", "b", "c"]
ROUTING = {"second": "rank", "threshold_scale": 1.0}


class TestStatic:
    class Own(Method):
        """The task's own state from its step on; no cell before."""

        def active(self, step, task, tasks):
            return [task] if step > tasks.index(task) else None

    def test_one_row_per_sample_and_cell(self) -> None:
        found = list(route_samples.route_static(self.Own(), "b", TASKS, ["x", "y"]))
        unrouted = {"best_task": None, "ratio": None, "n_under": None}
        assert found == [
            {"sample_id": sample, "step": step, "experts": ["b"], **unrouted}
            for step in (2, 3)
            for sample in ("x", "y")
        ]

    def test_sequential_lora_starts_with_the_backbone(self) -> None:
        found = route_samples.route_static(Method(), "a", TASKS, ["x"])
        assert [row["experts"] for row in found] == [[], ["a"], ["b"], ["c"]]

    @pytest.mark.parametrize(
        ("task", "steps"), [("a", [0, 1, 4]), ("b", [0, 1, 2, 4]), ("d", [0, 3, 4])]
    )
    def test_the_ends_of_a_stream(self, task: str, steps: list[int]) -> None:
        """Before the stream, before and after the task's own step, and at the end."""
        stream = [*TASKS, "d"]
        found = list(route_samples.route_static(Method(), task, stream, ["x"], "ends"))
        assert [row["step"] for row in found] == steps
        every = list(route_samples.route_static(Method(), task, stream, ["x"], "all"))
        assert found == [row for row in every if row["step"] in steps]

    def test_steps_that_cost_no_further_answers_are_kept(self) -> None:
        own = route_samples.route_static(self.Own(), "a", [*TASKS, "d"], ["x"], "ends")
        assert [row["step"] for row in own] == [1, 2, 3, 4]
        untouched = methods.load("zero_shot")
        found = route_samples.route_static(untouched, "b", [*TASKS, "d"], ["x"], "ends")
        assert [row["step"] for row in found] == [0, 1, 2, 3, 4]


class TestByThreshold:
    """Losses of two samples under three tasks; thresholds 1 unless scaled."""

    losses = np.array([[0.5, 0.9, 0.1], [3.0, 1.5, 2.0]])
    thresholds = dict.fromkeys(TASKS, 1.0)

    def routes(self, parents: dict | None = None, **routing) -> dict:
        found = route_samples.route_by_threshold(
            self.losses, self.thresholds, ["x", "y"], ROUTING | routing, parents
        )
        return {(row["sample_id"], row["step"]): row for row in found}

    def test_only_tasks_up_to_the_stage_take_part(self) -> None:
        found = self.routes()
        assert len(found) == 8
        assert [found["x", t]["experts"] for t in range(4)] == [[], ["a"], ["a", "b"], ["c", "a"]]
        assert [found["y", t]["experts"] for t in range(4)] == [[], [], [], []]
        assert [found["x", t]["n_under"] for t in range(4)] == [0, 1, 2, 3]
        assert [found["y", t]["best_task"] for t in range(4)] == [None, "a", "b", "b"]
        assert [found["y", t]["ratio"] for t in range(4)] == [None, 3.0, 1.5, 1.5]

    def test_threshold_scale(self) -> None:
        wide = self.routes(threshold_scale=2.0)
        assert wide["y", 3]["experts"] == ["b", "c"]
        assert wide["y", 3]["ratio"] == 0.75
        assert self.routes(threshold_scale=0.1)["x", 3]["experts"] == ["c"]

    def test_second_parent(self) -> None:
        found = self.routes({"a": None, "b": "a", "c": "b"}, second="parent")
        assert [found["x", t]["experts"] for t in range(4)] == [[], ["a"], ["a"], ["c", "b"]]


class TestCommand:
    """Under constant routers: the loss of a row is its mean squared distance from the bias."""

    rows = {"x": [1.0, 0.0], "y": [0.0, 1.0], "z": [-1.0, -1.0]}
    biases = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.5, 0.5]}
    # losses: x 0, 1, 0.25; y 1, 0, 0.25; z 2.5, 2.5, 2.25

    @pytest.fixture
    def folder(self, tmp_path):
        table = [{"sample_id": name, "z": z} for name, z in self.rows.items()]
        artifacts.write_table("features", tmp_path / "f.parquet", table, task="b", provenance={})
        blank = dict.fromkeys(artifacts.DATA.names)
        data = [blank | {"sample_id": name} for name in self.rows]
        artifacts.write_table("data", tmp_path / "d.parquet", data, task={"name": "b"})
        for task, bias in self.biases.items():
            write_constant_router(tmp_path, task, bias)
        return tmp_path

    def write_transfer(self, folder, task: str, parent: str | None) -> None:
        content = {"task": task, "step": 1, "parent": parent, "losses": {}, "thresholds": None}
        content |= {"require_threshold": False, "provenance": {}}
        artifacts.write_json("transfer", folder / f"{task}.transfer.json", content)

    def argv(self, folder, method: str, **routing) -> list[str]:
        argv = ["--method", method, "--task", "b", "--tasks", *TASKS]
        argv += ["--data", str(folder / "d.parquet"), "--out", str(folder / "out.parquet")]
        keys = {"routing": ROUTING | routing, "prediction": {"steps": "all"}}
        return [*argv, "--config", json.dumps(keys)]

    def routed(self, folder) -> list[str]:
        argv = ["--features", str(folder / "f.parquet")]
        argv += ["--routers", *(str(folder / f"{task}.safetensors") for task in TASKS)]
        return [*argv, "--thresholds", *(str(folder / f"{task}.json") for task in TASKS)]

    def run(self, folder, argv: list[str]) -> dict:
        cli.run(route_samples.main, argv)
        found = artifacts.read_table("routes", folder / "out.parquet").to_pylist()
        return {(row["sample_id"], row["step"]): row for row in found}

    def fails(self, capsys, folder, argv: list[str]) -> str:
        with pytest.raises(SystemExit) as stop:
            self.run(folder, argv)
        assert stop.value.code == 1
        assert not (folder / "out.parquet").exists()
        return capsys.readouterr().err

    def test_routes_by_threshold(self, folder) -> None:
        found = self.run(folder, self.argv(folder, "dmole") + self.routed(folder))
        assert [found["x", t]["experts"] for t in range(4)] == [[], ["a"], ["a"], ["a", "c"]]
        assert [found["y", t]["experts"] for t in range(4)] == [[], [], ["b"], ["b", "c"]]
        assert [found["z", t]["experts"] for t in range(4)] == [[], [], [], []]
        assert found["z", 3] == {
            "sample_id": "z", "step": 3, "experts": [],
            "best_task": "c", "ratio": 4.5, "n_under": 0,
        }  # fmt: skip
        notes = artifacts.metadata(folder / "out.parquet")
        assert (notes["task"], notes["method"]) == ("b", "dmole")
        assert "thresholds/c" in notes["provenance"]["inputs"]

    def test_an_edited_threshold_counts(self, folder) -> None:
        path = folder / "c.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 2.25}))
        found = self.run(folder, self.argv(folder, "dmole") + self.routed(folder))
        assert found["z", 3]["experts"] == ["c"]

    def test_second_parent_reads_the_transfers(self, folder) -> None:
        for task, parent in (("a", None), ("b", "a"), ("c", "a")):
            self.write_transfer(folder, task, parent)
        files = [str(folder / f"{task}.transfer.json") for task in TASKS]
        argv = [*self.argv(folder, "dmole", second="parent"), *self.routed(folder)]
        found = self.run(folder, [*argv, "--transfers", *files])
        assert (found["x", 3]["experts"], found["y", 3]["experts"]) == (["a"], ["b", "a"])

    def test_second_parent_without_transfers(self, folder, capsys) -> None:
        argv = self.argv(folder, "dmole", second="parent") + self.routed(folder)
        assert "--transfers lacks a, b, c" in self.fails(capsys, folder, argv)

    def test_static_method_needs_only_the_data_and_the_steps(self, folder) -> None:
        keys = json.dumps({"prediction": {"steps": "all"}})
        found = self.run(folder, [*self.argv(folder, "zero_shot"), "--config", keys])
        assert {row["sample_id"] for row in found.values()} == {"x", "y", "z"}
        assert all(row["experts"] == [] and row["ratio"] is None for row in found.values())

    def test_every_method_routes(self, folder) -> None:
        for name in methods.names():
            argv = self.argv(folder, name)
            threshold = methods.load(name).routing == "threshold"
            found = self.run(folder, argv + (self.routed(folder) if threshold else []))
            assert found, name

    def test_samples_that_differ_from_the_data(self, folder, capsys) -> None:
        table = [{"sample_id": name, "z": z} for name, z in reversed(self.rows.items())]
        artifacts.write_table("features", folder / "f.parquet", table, task="b", provenance={})
        message = self.fails(capsys, folder, self.argv(folder, "dmole") + self.routed(folder))
        assert "f.parquet" in message
        assert "d.parquet" in message

    def test_routers_are_required(self, folder, capsys) -> None:
        message = self.fails(capsys, folder, self.argv(folder, "dmole"))
        assert "'dmole' routes by threshold and needs --features" in message

    def test_unknown_method_suggests_the_nearest(self, folder, capsys) -> None:
        message = self.fails(capsys, folder, self.argv(folder, "dmoel"))
        assert "Did you mean 'dmole'" in message

    def test_data_of_another_task(self, folder, capsys) -> None:
        argv = [*self.argv(folder, "zero_shot"), "--task", "c"]
        assert "d.parquet: rows of task 'b', expected 'c'" in self.fails(capsys, folder, argv)

    def test_a_task_outside_the_stream(self, folder, capsys) -> None:
        argv = [*self.argv(folder, "zero_shot"), "--task", "bb"]
        assert "--task: unknown task 'bb'. Did you mean 'b'?" in self.fails(capsys, folder, argv)

    def test_same_input_same_bytes(self, folder) -> None:
        argv = self.argv(folder, "dmole") + self.routed(folder)
        self.run(folder, argv)
        first = (folder / "out.parquet").read_bytes()
        self.run(folder, argv)
        assert (folder / "out.parquet").read_bytes() == first

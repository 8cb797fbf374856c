"""Configurations and artefacts with one fault each: the stage names it and writes nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from stages import allocate_experts, route_samples, sample_subset
from stages.core.base import artifacts
from stages.core.base.config import complete
from tests.helpers.known_routers import write_constant_router
from tests.helpers.refusals import refused, succeeds

TASKS = ["a", "b"]
CONFIG: dict[str, Any] = {
    "stream": "s",
    "manifests": "m",
    "tasks": TASKS,
    "backbone": {"path": "backbone"},
}
USED = json.dumps(complete(CONFIG | {"routing": {"second": "parent"}}, "test"))
SLOTS = [
    (tower, block, kind) for tower in ("vision", "llm") for block in (0, 1) for kind in ("qkv", "o")
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sound file of each kind."""
    folder = tmp_path_factory.mktemp("sound")
    blank = dict.fromkeys(artifacts.DATA.names)
    rows = [blank | {"sample_id": name} for name in "xyz"]
    artifacts.write_table("data", folder / "data.parquet", rows, task={"name": "b"})
    z = [{"sample_id": name, "z": [1.0, float(i)]} for i, name in enumerate("xyz")]
    artifacts.write_table("features", folder / "features.parquet", z, task="b")
    rest = {"score": 1.0, "standard_error": 0.1, "parameters": 1, "n_samples": 8, "mean_loss": 1.0}
    profile = [{"tower": t, "block": b, "slot": k} | rest for t, b, k in SLOTS]
    shapes = {f"{t}.{b}.{k}": [[4, 4]] for t, b, k in SLOTS}
    artifacts.write_table("profile", folder / "profile.parquet", profile, task="b", shapes=shapes)
    for task, parent in (("a", None), ("b", "a")):
        write_constant_router(folder, task, [1.0, 0.0])
        transfer = {"task": task, "step": 1, "parent": parent, "losses": {}, "thresholds": None}
        transfer |= {"require_threshold": False, "provenance": {}}
        artifacts.write_json("transfer", folder / f"transfer_{task}.json", transfer)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture
def files(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(sound, tmp_path / "files")


def subset(folder: Path) -> tuple[Callable, list, Path]:
    out = folder / "out" / "subset.parquet"
    arguments = ["--data", folder / "data.parquet", "--config", folder / "config.yaml"]
    return sample_subset.main, [*arguments, "--seed", 0, "--out", out], out


def allocation(folder: Path) -> tuple[Callable, list, Path]:
    out = folder / "out" / "allocation.json"
    arguments = ["--profile", folder / "profile.parquet", "--config", USED]
    return allocate_experts.main, [*arguments, "--seed", 0, "--out", out], out


def routes(folder: Path) -> tuple[Callable, list, Path]:
    out = folder / "out" / "routes.parquet"
    arguments = ["--method", "dmole", "--task", "b", "--tasks", *TASKS, "--config", USED]
    arguments += ["--data", folder / "data.parquet", "--features", folder / "features.parquet"]
    arguments += ["--routers", *(folder / f"{task}.safetensors" for task in TASKS)]
    arguments += ["--thresholds", *(folder / f"{task}.json" for task in TASKS)]
    arguments += ["--transfers", *(folder / f"transfer_{task}.json" for task in TASKS)]
    return route_samples.main, [*arguments, "--out", out], out


@pytest.mark.parametrize("stage", [subset, allocation, routes])
def test_sound_files_are_read(files: Path, stage: Callable) -> None:
    succeeds(*stage(files))


# --- configurations ------------------------------------------------------------

CONFIGS = {
    "no stream": ({"stream": None}, "stream"),
    "no tasks": ({"tasks": []}, "tasks: "),
    "tasks of text": ({"tasks": "a"}, "tasks: 'a' is not of type 'array'"),
    "a task twice": ({"tasks": ["a", "a"]}, "tasks: "),
    "task with a slash": ({"tasks": ["../a"]}, "tasks.0: '../a'"),
    "task of a number": ({"tasks": [1]}, "tasks.0: 1 is not of type 'string'"),
    "near miss": ({"taks": ["a"]}, "unknown key 'taks'. Did you mean 'tasks'?"),
    "near miss below": ({"training": {"epoch": 1}}, "Did you mean 'epochs'?"),
    "no backbone": ({"backbone": None}, "backbone"),
    "backbone of text": ({"backbone": "x"}, "backbone: 'x' is not of type 'object'"),
    "backbone without path": ({"backbone": {}}, "backbone: 'path' is a required property"),
    "path with a dash": ({"backbone": {"path": "-x"}}, "backbone.path: '-x': expected a path"),
    "path with a line": ({"backbone": {"path": "a\nb"}}, "backbone.path: "),
    "short revision": ({"backbone": {"path": "x", "revision": "main"}}, "backbone.revision"),
    "unknown dtype": ({"backbone": {"path": "x", "dtype": "float16"}}, "backbone.dtype: 'float16'"),
    "no tiles": ({"backbone": {"path": "x", "max_tiles": 0}}, "backbone.max_tiles: 0"),
    "negative size": ({"backbone": {"path": "x", "image_size": -1}}, "backbone.image_size: -1"),
    "seeds of text": ({"seeds": ["0"]}, "seeds.0: '0'"),
    "negative seed": ({"seeds": [-1]}, "seeds.0: -1"),
    "seed too large": ({"seeds": [2**32]}, "seeds.0: 4294967296"),
    "seed twice": ({"seeds": [1, 1]}, "seeds: "),
    "no method": ({"methods": []}, "methods: "),
    "method of a number": ({"methods": [3]}, "methods.0: 3"),
    "variant called seed": ({"variants": {"seed0": {"method": "dmole", "set": {}}}}, "seed0"),
    "variant of text": ({"variants": {"v": "dmole"}}, "variants.v: 'dmole'"),
    "variant without method": ({"variants": {"v": {"set": {}}}}, "variants.v: 'method'"),
    "unknown preset": ({"preset": "papers"}, "preset: 'papers'"),
    "no pixels": ({"max_pixels": 0}, "max_pixels: 0"),
    "no GPU": ({"gpus": {"training": 0}}, "gpus.training: 0"),
    "fraction of nothing": ({"subset": {"fraction": 0}}, "subset.fraction: 0"),
    "fraction above one": ({"subset": {"fraction": 1.1}}, "subset.fraction: 1.1"),
    "fraction of text": ({"subset": {"fraction": "1%"}}, "subset.fraction: '1%'"),
    "fraction of none": ({"subset": {"fraction": float("nan")}}, "subset.fraction: nan"),
    "an endless rate": ({"training": {"learning_rate": float("inf")}}, "learning_rate: inf"),
    "a rate of zero": ({"training": {"learning_rate": 0}}, "training.learning_rate: 0"),
    "half a batch": ({"training": {"batch_size": 0.5}}, "training.batch_size: 0.5"),
    "budget below zero": ({"budget": {"ratio": -0.1}}, "budget.ratio: -0.1"),
    "budget of a truth": ({"budget": {"ratio": True}}, "budget.ratio: True"),
    "unknown modality": ({"budget": {"modality": "text"}}, "budget.modality: 'text'"),
    "unknown strategy": ({"allocation": {"strategy": "best"}}, "allocation.strategy: 'best'"),
    "one fold": ({"threshold": {"folds": 1}}, "threshold.folds: 1"),
    "quantile above one": ({"threshold": {"quantile": 2}}, "threshold.quantile: 2"),
    "unknown second": ({"routing": {"second": "best"}}, "routing.second: 'best'"),
    "rank of zero": ({"expert": {"rank": 0}}, "expert.rank: 0"),
    "dropout of text": ({"expert": {"dropout": "x"}}, "expert.dropout: 'x'"),
    "section of a list": ({"expert": [1]}, "expert: [1] is not of type 'object'"),
    "section of nothing": ({"router": 0}, "router: 0 is not of type 'object'"),
    "options of a list": ({"method_options": []}, "method_options: []"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_configuration(files: Path, capsys, name: str) -> None:
    changes, words = CONFIGS[name]
    content = {key: value for key, value in (CONFIG | changes).items() if value is not None}
    (files / "config.yaml").write_text(yaml.safe_dump(content))
    message = refused(*subset(files), capsys)
    assert words in message
    assert "config.yaml" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "{}", "[1]", "gone.yaml", "."])
def test_a_bad_argument_in_place_of_a_configuration(files: Path, capsys, text: str) -> None:
    main, arguments, out = subset(files)
    arguments[arguments.index("--config") + 1] = text
    assert refused(main, arguments, out, capsys).count("\n") == 1


# --- files that are no such artefact ------------------------------------------------------------


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


ANY = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no artefact\n"),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "half": cut,
    "all but the end": lambda path: cut(path, 0.97),
    "a folder": to_folder,
}
READ = {
    "data.parquet": [subset, routes],
    "profile.parquet": [allocation],
    "features.parquet": [routes],
    "a.safetensors": [routes],
    "b.json": [routes],
    "transfer_b.json": [routes],
}
EVERY = [(stage, name) for name, stages in READ.items() for stage in stages]


@pytest.mark.parametrize("damage", ANY)
@pytest.mark.parametrize(("stage", "name"), EVERY)
def test_a_damaged_file(files: Path, capsys, stage: Callable, name: str, damage: str) -> None:
    ANY[damage](files / name)
    message = refused(*stage(files), capsys)
    assert str(files / name) in message
    assert message.count("\n") == 1


# --- Parquet ------------------------------------------------------------


def noted(change: Callable[[dict], Any]) -> Callable[[Path], None]:
    """Replace what a table says of itself."""

    def damage(path: Path) -> None:
        table = pq.read_table(path)
        notes = change(json.loads(table.schema.metadata[b"cmit"]))
        text = notes if isinstance(notes, bytes) else json.dumps(notes).encode()
        pq.write_table(table.replace_schema_metadata({"cmit": text}), path)

    return damage


def unnoted(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def lacking_a_column(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["sample_id"]), path)


def of_another_type(path: Path) -> None:
    table = pq.read_table(path)
    numbers = pa.array(range(table.num_rows), pa.int64())
    kept = table.schema.metadata
    pq.write_table(table.set_column(0, "sample_id", numbers).replace_schema_metadata(kept), path)


TABLES = {
    "without notes": (unnoted, "not an artefact of this pipeline"),
    "notes that are no JSON": (noted(lambda _: b"{"), "not readable as Parquet"),
    "notes that are no text": (noted(lambda _: b"\xff"), "not readable as Parquet"),
    "notes that are a list": (noted(lambda _: []), "expected a JSON object"),
    "no schema": (noted(lambda n: {"version": 1}), "lacks 'schema'"),
    "another schema": (noted(lambda n: n | {"schema": "scores"}), "'scores'"),
    "another version": (noted(lambda n: n | {"version": 99}), "version 99"),
    "a column less": (lacking_a_column, "do not fit artefact"),
    "a column of another type": (of_another_type, "do not fit artefact"),
}


@pytest.mark.parametrize("damage", TABLES)
@pytest.mark.parametrize(
    ("stage", "name"), [(subset, "data.parquet"), (routes, "features.parquet")]
)
def test_a_table_that_is_another(
    files: Path, capsys, stage: Callable, name: str, damage: str
) -> None:
    change, words = TABLES[damage]
    change(files / name)
    message = refused(*stage(files), capsys)
    assert f"{files / name}: " in message
    assert words in message


def vectors(*z: list[float] | None) -> list[dict]:
    return [{"sample_id": name, "z": row} for name, row in zip("xyz", z, strict=True)]


FEATURES = {
    "no rows": ([], "rows must have one common length"),
    "unequal lengths": (vectors([1, 2], [1], [1, 2]), "one common length, found [1, 2]"),
    "a row of nothing": (vectors([1, 2], None, [1, 2]), "one common length"),
    "NaN": (vectors([1, 2], [1, np.nan], [1, 2]), "sample 'y' has a feature that is not finite"),
    "infinity": (vectors([1, 2], [1, 2], [1, np.inf]), "sample 'z' has a feature"),
    "other dimensions": (vectors([1], [1], [1]), "takes 2 features, but the rows"),
    "a sample less": (vectors([1, 2], [1, 2], [1, 2])[:2], "do not list the same samples"),
    "another order": (vectors([1, 2], [1, 2], [1, 2])[::-1], "do not list the same samples"),
}


@pytest.mark.parametrize("name", FEATURES)
def test_bad_features(files: Path, capsys, name: str) -> None:
    rows, words = FEATURES[name]
    artifacts.write_table("features", files / "features.parquet", rows, task="b")
    message = refused(*routes(files), capsys)
    assert words in message
    assert "features.parquet" in message


def test_rows_of_another_task(files: Path, capsys) -> None:
    artifacts.write_table("data", files / "data.parquet", [], task={"name": "c"})
    assert "rows of task 'c', expected 'b'" in refused(*routes(files), capsys)


@pytest.mark.parametrize("task", [None, "b", 3, [], {}, {"name": 3}, {"nome": "b"}])
def test_rows_that_do_not_say_their_task(files: Path, capsys, task: Any) -> None:
    noted(lambda notes: notes | {"task": task})(files / "data.parquet")
    assert "data.parquet" in refused(*routes(files), capsys)
    assert "data.parquet" in refused(*subset(files), capsys)


def slot(**changes: Any) -> Callable[[list[dict]], list[dict]]:
    return lambda rows: [rows[0] | changes, *rows[1:]]


PROFILES = {
    "no rows": lambda rows: [],
    "NaN": slot(score=np.nan),
    "infinity": slot(score=np.inf),
    "below zero": slot(score=-1.0),
    "no score": slot(score=None),
    "no gradient at all": lambda rows: [row | {"score": 0.0} for row in rows],
    "unknown tower": slot(tower="audio"),
    "no tower": slot(tower=None),
    "unknown slot": slot(slot="mlp"),
    "unknown block": slot(block=99),
    "no block": slot(block=None),
    "one tower": lambda rows: rows[4:],
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_bad_profile(files: Path, capsys, name: str) -> None:
    path = files / "profile.parquet"
    notes, rows = artifacts.metadata(path), artifacts.read_table("profile", path).to_pylist()
    changed = PROFILES[name](rows)
    artifacts.write_table("profile", path, changed, task="b", shapes=notes["shapes"])
    refused(*allocation(files), capsys)


@pytest.mark.parametrize("shapes", [None, {}, [], {"llm.0.o": 3}, "x"])
def test_a_profile_with_bad_shapes(files: Path, capsys, shapes: Any) -> None:
    noted(lambda notes: notes | {"shapes": shapes})(files / "profile.parquet")
    assert "profile.parquet" in refused(*allocation(files), capsys)


# --- JSON ------------------------------------------------------------

ROUTERS = {
    "a list": ([], "expected a JSON object"),
    "nothing": (None, "expected a JSON object"),
    "no key": ({}, "is a required property"),
    "threshold of text": ({"threshold": "low"}, "threshold: 'low'"),
    "threshold of zero": ({"threshold": 0}, "threshold: 0"),
    "threshold below zero": ({"threshold": -1}, "threshold: -1"),
    "threshold of none": ({"threshold": float("nan")}, "threshold: nan"),
    "endless threshold": ({"threshold": float("inf")}, "threshold: inf"),
    "threshold of nothing": ({"threshold": None}, "threshold: None"),
    "threshold of a truth": ({"threshold": True}, "threshold: True"),
    "another task": ({"task": "c"}, "made for task 'c', expected 'b'"),
    "task of a number": ({"task": 3}, "task: 3"),
    "near miss": ({"treshold": 1}, "unknown key 'treshold'. Did you mean 'threshold'?"),
    "losses of text": ({"losses": "low"}, "losses: 'low'"),
    "steps of a half": ({"steps": 0.5}, "steps: 0.5"),
    "unknown output": ({"output": "tanh"}, "output: 'tanh'"),
}


@pytest.mark.parametrize("name", ROUTERS)
def test_a_bad_threshold_file(files: Path, capsys, name: str) -> None:
    changes, words = ROUTERS[name]
    content = json.loads((files / "b.json").read_text())
    changed = content | changes if changes else changes
    (files / "b.json").write_text(json.dumps(changed))
    message = refused(*routes(files), capsys)
    assert words in message
    assert "b.json" in message


PARENTS = {
    "parent of a number": {"parent": 1},
    "step of zero": {"step": 0},
    "losses of a list": {"losses": []},
    "loss below zero": {"losses": {"a": -1}},
    "loss of none": {"losses": {"a": float("nan")}},
    "unknown key": {"father": "a"},
    "another task": {"task": "c"},
    "an empty task": {"task": ""},
}


@pytest.mark.parametrize("name", PARENTS)
def test_a_bad_transfer(files: Path, capsys, name: str) -> None:
    path = files / "transfer_b.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | PARENTS[name]))
    assert "transfer" in refused(*routes(files), capsys)


# --- weights ------------------------------------------------------------


def rewoven(change: Callable[[dict], dict], **notes: str) -> Callable[[Path], None]:
    """Change the tensors of a router, or what it says of itself."""

    def damage(path: Path) -> None:
        told = {"task": "a", "output": "identity"} | notes
        save_file(change(load_file(path)), path, metadata={"cmit": json.dumps(told)})

    return damage


WEIGHTS = {
    "NaN": rewoven(lambda t: t | {"decoder.bias": torch.tensor([0.0, np.nan])}),
    "infinity": rewoven(lambda t: t | {"decoder.bias": torch.tensor([np.inf, 0.0])}),
    "a tensor less": rewoven(lambda t: {k: v for k, v in t.items() if k != "decoder.bias"}),
    "a tensor more": rewoven(lambda t: t | {"extra": torch.ones(1)}),
    "no tensor": rewoven(lambda t: {}),
    "another shape": rewoven(lambda t: t | {"decoder.bias": torch.zeros(3)}),
    "other axes": rewoven(lambda t: t | {"encoder.weight": torch.zeros(3)}),
    "another task": rewoven(lambda t: t, task="c"),
    "no notes": lambda path: save_file(load_file(path), path),
    "notes of a list": lambda path: save_file(load_file(path), path, metadata={"cmit": "[]"}),
    "notes of no JSON": lambda path: save_file(load_file(path), path, metadata={"cmit": "{"}),
    "an output of its own": rewoven(lambda t: t, output="tanh"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_bad_weights_of_a_router(files: Path, capsys, name: str) -> None:
    WEIGHTS[name](files / "a.safetensors")
    assert "a.safetensors" in refused(*routes(files), capsys)


@pytest.mark.parametrize("stage", [subset, allocation, routes])
def test_a_folder_where_the_result_goes(files: Path, capsys, stage: Callable) -> None:
    main, arguments, out = stage(files)
    out.mkdir(parents=True)
    assert "a folder is where this file goes" in refused(main, arguments, out, capsys)
    shutil.rmtree(out.parent)
    out.parent.touch()
    message = refused(main, arguments, out.parent, capsys)
    assert "a file is where this folder goes" in message

"""cmit general: lmms-eval asks the model a task that the test makes, without a download."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.model import general
from stages.core.model.continual import ContinualModel
from stages.tools import cmit
from tests.helpers.finished_run import TASKS

TASK = """\
task: tiny_benchmark
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function helpers.visual
doc_to_text: !function helpers.text
doc_to_target: reference
generation_kwargs: {{max_new_tokens: 3, until: ["stop"]}}
process_results: !function helpers.result
metric_list:
  - {{metric: length, aggregation: mean, higher_is_better: true}}
  - {{metric: told, aggregation: !function helpers.told, higher_is_better: true}}
metadata: [{{version: 2.5}}]
"""
HELPERS = """\
import io, json, os
from PIL import Image

def visual(doc):
    return [Image.open(io.BytesIO(doc["image"]))]

def text(doc, kwargs=None):
    return doc["question"]

def result(doc, results):
    return {"length": len(results[0]), "told": [doc["id"], results[0]]}

def told(pairs):
    with open(os.path.join(os.path.dirname(__file__), "told.json"), "w") as file:
        json.dump(sorted(pairs), file)
    return float(len(pairs))
"""
COUNT = 6


@pytest.fixture(scope="module")
def folder(small_run, tmp_path_factory) -> Path:
    """A task of lmms-eval from test rows of two tasks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = tmp_path_factory.mktemp("lmms")
    rows = []
    for task in TASKS[:2]:
        table = artifacts.read_table("data", small_run / f"data/{task}/test.parquet")
        rows += table.slice(0, COUNT // 2).to_pylist()
    columns = {
        "id": list(range(COUNT)),
        "image": [row["images"][0]["bytes"] for row in rows],
        "question": [row["turns"][0]["question"] for row in rows],
        "reference": [""] * COUNT,
    }
    pq.write_table(pa.table(columns), made / "rows.parquet")
    (made / "tiny_benchmark.yaml").write_text(TASK.format(file=made / "rows.parquet"))
    (made / "helpers.py").write_text(HELPERS)
    return made


def needs_lmms_eval() -> None:
    if find_spec("lmms_eval") is None:
        pytest.skip("lmms-eval is not installed")


def test_the_answers_are_those_of_the_model(small_run, folder, tmp_path, capsys, monkeypatch):
    needs_lmms_eval()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(general, "CHUNK", 4)  # the last chunk is smaller
    out = tmp_path / "general.json"
    words = ["--tasks", "tiny_benchmark", "--include", str(folder), "--out", str(out)]
    cmit.main(["general", str(small_run), *words])
    found = artifacts.read_json("general", out)
    (entry,) = found["tasks"]
    told = json.loads((folder / "told.json").read_text())
    assert entry["n"] == COUNT == entry["metrics"]["told"]
    lengths = [len(text) for _, text in told]
    assert entry["metrics"]["length"] == pytest.approx(sum(lengths) / COUNT)
    assert (found["run"], found["step"], found["limit"]) == ("dmole", 3, None)
    assert f"{COUNT}  told" in capsys.readouterr().out
    model = ContinualModel.load(small_run)
    rows = artifacts.read_table("data", small_run / f"data/{TASKS[0]}/test.parquet").to_pylist()
    answer = model.ask(rows[0]["images"][0]["bytes"], rows[0]["turns"][0]["question"])
    first = dict(told)[0]
    assert answer.text.startswith(first)


def test_an_unknown_task_is_named_with_its_neighbours(small_run, folder):
    needs_lmms_eval()
    model = ContinualModel.load(small_run, 0)
    with pytest.raises(InputError, match=r"knows no task 'tiny_bench'; .*tiny_benchmark"):
        general.evaluate(model, ["tiny_bench"], folder=folder)


def test_without_lmms_eval_one_sentence_says_what_to_install(small_run, capsys, monkeypatch):
    monkeypatch.setattr(general, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        cmit.main(["general", str(small_run), "--tasks", "pope"])
    assert ended.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and 'pip install -e ".[eval]"' in error


def test_a_torchvision_of_another_build_is_named(small_run, tmp_path, capsys, monkeypatch):
    (tmp_path / "lmms_eval.py").write_text("")
    fault = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "torchvision.py").write_text(fault)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lmms_eval", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SystemExit):
        cmit.main(["general", str(small_run), "--tasks", "mme"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "torchvision does not fit the installed torch (operator torchvision::nms" in error


def test_answers_end_before_a_stop_string():
    assert general._until("a b\n\nc stop d", ["\n\n", "stop"]) == "a b"
    assert general._until(" stop d", "stop") == ""
    assert general._until("all of it", []) == "all of it"


def test_a_row_holds_all_images(small_run):
    model = ContinualModel.load(small_run, 0)
    row = artifacts.read_table("data", small_run / f"data/{TASKS[0]}/test.parquet").to_pylist()[0]
    image = row["images"][0]["bytes"]
    made = general._row(model, [image, image], "What?", "x")
    assert len(made["images"]) == 2 and made["turns"][0]["question"] == "What?"
    with pytest.raises(InputError, match="x: has no image"):
        general._row(model, [], "What?", "x")

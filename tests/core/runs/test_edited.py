"""Edits are found for the runs that use the file, and for no other."""

from pathlib import Path

from stages.core.base.artifacts import read_json, write_json
from stages.core.runs.edited import Edit, find_edits
from stages.core.runs.run_sheet import RunSheet
from tests.helpers.decisions import router


def test_only_runs_that_use_an_edited_file_rest_on_it(tmp_path: Path) -> None:
    for name in ("a", "b", "b.override"):
        write_json("router", tmp_path / f"seed0/routers/{name}.json", router(name[0]))
    edited = tmp_path / "seed0/routers/a.json"
    edited.write_text(edited.read_text().replace('"threshold": 1.5', '"threshold": 2'))
    taken = tmp_path / "seed0/routers/b.override.json"
    write_json(
        "router", taken, read_json("router", taken) | {"provenance": {"stage": "take_override"}}
    )

    def run(name: str, **files: str) -> dict:
        found = {"router": {task: f"seed0/routers/{file}.json" for task, file in files.items()}}
        return {"name": name, "method": name, "seed": 0, "tasks": ["a", "b"], "artefacts": found}

    runs = [run("both", a="a", b="b.override"), run("one", a="a", b="b"), run("none", b="b")]
    sheet = {"stream": "s", "root": ".", "tasks": ["a", "b"], "config": {}, "runs": runs}
    write_json("runs", tmp_path / "runs.json", sheet | {"provenance": {}})
    assert find_edits(RunSheet(tmp_path / "runs.json")) == [
        Edit("both", 0, "a", "router", "edited in place"),
        Edit("both", 0, "b", "router", "from overrides"),
        Edit("one", 0, "a", "router", "edited in place"),
    ]

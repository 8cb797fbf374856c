"""What fits of a results folder, told by content: a finished run without Snakemake."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.runs.adoption import Adoption
from stages.core.runs.run_place import find_place

SUMMARY = {"measure_separability", "compare", "report"}  # not made in this run
EXPERT = "seed0/dmole/experts/tiny_choice"


@pytest.fixture
def copied(small_run: Path, tmp_path: Path) -> Path:
    """The same folder elsewhere, with new times."""
    return Path(shutil.copytree(small_run, tmp_path / "small", copy_function=shutil.copyfile))


def faults(root: Path) -> dict[tuple[str, str, str], str]:
    found = Adoption(find_place(str(root), Path())).faults
    return {(job.rule, job.scope, job.task): fault for job, fault in found.items()}


def edited(file: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_copied_run_fits(copied: Path) -> None:
    found = faults(copied)
    assert {key: fault for key, fault in found.items() if key[0] not in SUMMARY} == {}


def test_what_rests_on_another_content_does_not_fit(copied: Path) -> None:
    edited(copied / "seed0/allocations/tiny_choice.json", lambda c: c.update(budget=1))
    found = faults(copied)
    assert found["train_expert", "seed0/dmole", "tiny_choice"] == "was made from another allocation"
    assert found["predict", "seed0/dmole", "tiny_choice"].startswith("rests on expert")
    assert ("allocate_experts", "seed0", "tiny_choice") not in found  # an edit may stay
    assert {scope for rule, scope, _ in found if rule not in {*SUMMARY, "score"}} == {"seed0/dmole"}


def test_other_code_settings_and_seeds_do_not_fit(copied: Path) -> None:
    record = copied / EXPERT / "provenance.json"
    key = ("train_expert", "seed0/dmole", "tiny_choice")
    before = record.read_text()
    for change, fault in (
        (lambda c: c.update(source="0"), "was made by other code"),
        (lambda c: c.update(seed=3), "was made under seed 3"),
        (lambda c: c["config"]["training"].update(epochs=7), "training.epochs: 7, now 4"),
        (lambda c: c["inputs"].pop("allocation"), "was made without seed0/allocations"),
    ):
        record.write_text(before)
        edited(record, change)
        assert fault in faults(copied)[key]


def test_rows_without_those_that_are_held_out_do_not_fit(copied: Path) -> None:
    edited(copied / "runs.json", lambda c: c["config"]["rows"].update(held_out=2))
    told = {fault for (rule, *_), fault in faults(copied).items() if rule == "prepare_data"}
    assert told == {"was made with held_out: None, now 2"}


def test_a_file_that_is_missing_or_damaged(copied: Path) -> None:
    (copied / "seed0/routers/tiny_ground.safetensors").write_bytes(b"x")
    shutil.rmtree(copied / EXPERT)
    found = faults(copied)
    assert found["train_expert", "seed0/dmole", "tiny_choice"] == f"{EXPERT} is not there"
    assert "tiny_ground.safetensors" in found["fit_router", "seed0", "tiny_ground"]

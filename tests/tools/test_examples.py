"""cmit examples and cmit inspect --samples: which samples are shown, and what is joined."""

import pytest

from stages.core.base import artifacts
from stages.tools import cmit
from tests.helpers.hand_made_run import COURSES, TASKS, write_run

FOUND = {
    ("first", "kept"): "stays known later",
    ("first", "forgotten"): "fades",
    ("first", "learnt"): "stays fades",
    ("first", "misrouted"): "fades known never",
    ("first", "unparsed"): "never",
    ("second", "kept"): "alone grown",
    ("second", "forgotten"): "",
    ("second", "learnt"): "grown",  # step 1, just before, is what counts
    ("second", "misrouted"): "",
    ("second", "unparsed"): "",
}


@pytest.fixture
def root(tmp_path):
    write_run(tmp_path)
    return tmp_path


def shown(capsys, *words: object) -> list[str]:
    """Lines, runs of spaces as one."""
    cmit.main([str(word) for word in words])
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def failed(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        cmit.main([str(word) for word in words])
    assert ended.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(("task", "where"), FOUND)
def test_which_samples_are_shown(capsys, root, task: str, where: str) -> None:
    lines = shown(capsys, "examples", root, "--task", task, "--where", where)
    wanted, names = FOUND[task, where].split(), COURSES[task]
    assert [line for line in lines if line in names] == wanted
    assert lines[0].startswith(f"{where}: {len(wanted)} of {len(names)} samples of {task} ")
    assert lines[0].endswith("(mine, seed 3).")


def test_what_is_shown_of_a_sample(capsys, root) -> None:
    lines = shown(capsys, "examples", root, "--task", "first", "--where", "unparsed")
    start = lines.index("never")
    assert lines[start + 1 : start + 4] == ["Is it never?", "Say so.", "wanted: yes | aye"]
    assert "0 never by nobody (backbone) 0" in lines
    assert "1 never by first first 0" in lines
    assert "2 never by second second 0 (not readable)" in lines


def test_number_run_and_seed(capsys, root) -> None:
    words = ("examples", root, "--task", "first", "--where", "kept", "--samples")
    assert [line for line in shown(capsys, *words, 2) if line in COURSES["first"]] == [
        "stays", "known",
    ]  # fmt: skip
    lines = shown(capsys, *words, 1, "--method", "other")  # 100 less the other run's scores
    assert "never" in lines and lines[0].endswith("(other, seed 3).")
    assert shown(capsys, *words, 1, "--seed", 4)[0].endswith("(mine, seed 4).")


def test_a_method_that_answers_after_few_steps(capsys, root) -> None:
    """Only steps 0 and 2 of a task learnt at step 1: the end stands for its own step."""
    for task in TASKS:
        file = root / f"routes/{task}.parquet"
        rows = artifacts.read_table("routes", file).to_pylist()
        rows = [row for row in rows if row["step"] != 1]
        artifacts.write_table("routes", file, rows, task=task, provenance={})
    for where, names in {"learnt": "stays fades later", "forgotten": ""}.items():
        lines = shown(capsys, "examples", root, "--task", "first", "--where", where)
        assert [line for line in lines if line in COURSES["first"]] == names.split()


def test_predictions_with_question_references_and_score(capsys, root) -> None:
    file = root / "predictions/second.parquet"
    lines = shown(capsys, "inspect", file, "--samples", 1)
    assert lines[:4] == ["alone", "Is it alone?", "Say so.", "wanted: yes | aye"]
    assert "1 alone by first first 50" in lines
    assert "grown" not in lines
    assert "grown" in shown(capsys, "inspect", file, "--samples", 5)


def test_what_is_refused(capsys, root, tmp_path) -> None:
    words = ("examples", root, "--task")
    assert "unknown task 'firs'. Did you mean 'first'" in failed(
        capsys, *words, "firs", "--where", "kept"
    )
    kept = (*words, "first", "--where", "kept")
    assert "unknown run 'min'" in failed(capsys, *kept, "--method", "min")
    assert "--samples: 0 is not" in failed(capsys, *kept, "--samples", 0)
    assert "--samples: 0 is not" in failed(
        capsys, "inspect", root / "predictions/first.parquet", "--samples", 0
    )
    assert "holds no predictions of a run" in failed(
        capsys, "inspect", root / "routes/first.parquet", "--samples", 1
    )
    (root / "sample_scores.parquet").unlink()
    assert "sample_scores.parquet: missing; run mine to its end" in failed(capsys, *kept)


def test_answers_that_do_not_join_are_named(capsys, root) -> None:
    file = root / "predictions/first.parquet"
    rows = artifacts.read_table("predictions", file).to_pylist()[1:]
    artifacts.write_table("predictions", file, rows, task="first", provenance={})
    message = failed(capsys, "examples", root, "--task", "first", "--where", "kept")
    assert "sample 'stays' has no answer after step 0; run predict and score again" in message


def test_without_routers_nothing_is_misrouted(capsys, tmp_path) -> None:
    write_run(tmp_path, routed=False)
    message = failed(capsys, "examples", tmp_path, "--task", "first", "--where", "misrouted")
    assert "mine has no routers, so no sample can be misrouted" in message

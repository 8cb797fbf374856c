"""Scores, matrices and metrics of small hand-made runs, through the files and the command."""

import json

import numpy as np
import pytest

from stages import score
from stages.core.base import artifacts, cli

TASKS = ["shapes", "boxes"]
CONFIG = json.dumps({"score": {"bootstrap": 50}})


def data_row(sample, references, choices=None, box=None):
    return {
        "sample_id": sample,
        "images": [{"bytes": b"\x00" * 8, "path": "a.png"}],
        "turns": [{"question": "?", "answer": references[0]}],
        "references": references,
        "choices": choices,
        "box": box,
        "width": 10,
        "height": 10,
    }


SHAPES = [data_row(f"s{i}", [letter], ["disc", "bar"]) for i, letter in enumerate("AABB")]
BOXES = [data_row(f"b{i}", ["-"], box=[0.1, 0.1, 0.5, 0.5]) for i in range(2)]
RIGHT_BOX, WRONG_BOX = "<box>[[100,100,500,500]]</box>", "<box>[[600,600,900,900]]</box>"

# By hand: answers by (sample, experts). The backbone alone answers "A", so half are right; the
# expert of shapes answers all right; with both experts s3 becomes unreadable.
SHAPE_ANSWERS = {
    (): ["A", "A", "A", "A"],
    ("shapes",): ["A", "disc", "B", "(B)"],
    ("boxes", "shapes"): ["A", "A", "B", "dunno"],
}
BOX_ANSWERS = {
    (): [WRONG_BOX, "no idea"],
    ("shapes",): [RIGHT_BOX, "no idea"],
    ("boxes",): [RIGHT_BOX, RIGHT_BOX],
}
SHAPE_STAGES = {0: (), 1: ("shapes",), 2: ("boxes", "shapes")}
BOX_STAGES = {0: (), 1: ("shapes",), 2: ("boxes",)}
MATRIX = [[50.0, 0.0], [100.0, 50.0], [75.0, 100.0]]
UNPARSED = {("shapes", 0): 0, ("shapes", 1): 0, ("shapes", 2): 1,
            ("boxes", 0): 1, ("boxes", 1): 1, ("boxes", 2): 0}  # fmt: skip


def routes_of(rows, steps):
    return [
        {"sample_id": row["sample_id"], "step": step, "experts": list(experts),
         "best_task": None, "ratio": None, "n_under": None}
        for step, experts in steps.items()
        for row in rows
    ]  # fmt: skip


def answers_of(rows, answers):
    return [
        {"sample_id": row["sample_id"], "experts": list(experts), "text": text}
        for experts, texts in answers.items()
        for row, text in zip(rows, texts, strict=True)
    ]


def write(folder, task, metric, rows, routes, answers):
    """The three files of a task: (test rows, routes, predictions)."""
    paths = [folder / f"{task}_{kind}.parquet" for kind in ("test", "routes", "predictions")]
    described = {"name": task, "kind": "any", "metric": metric}
    artifacts.write_table("data", paths[0], rows, task=described)
    artifacts.write_table("routes", paths[1], routes, task=task, method="m")
    artifacts.write_table("predictions", paths[2], answers, task=task, method="m")
    return paths


@pytest.fixture
def files(tmp_path):
    shapes = write(
        tmp_path, "shapes", "choice", SHAPES, routes_of(SHAPES, SHAPE_STAGES),
        answers_of(SHAPES, SHAPE_ANSWERS),
    )  # fmt: skip
    boxes = write(
        tmp_path, "boxes", "iou", BOXES, routes_of(BOXES, BOX_STAGES),
        answers_of(BOXES, BOX_ANSWERS),
    )  # fmt: skip
    return {"shapes": shapes, "boxes": boxes}


def command(tmp_path, files, runs=(("dmole", 0),), tasks=TASKS):
    """The command line and its outputs, behind a run sheet in which all runs have these files."""
    named = {
        name: {task: str(paths[i].relative_to(tmp_path)) for task, paths in files.items()}
        for i, name in enumerate(("test_rows", "routes", "predictions"))
    }
    entries = [
        {"name": name, "method": name, "seed": seed, "tasks": tasks, "artefacts": named}
        for name, seed in runs
    ]
    sheet = {"stream": "s", "root": ".", "tasks": tasks, "config": {}, "runs": entries}
    artifacts.write_json("runs", tmp_path / "runs.json", {**sheet, "provenance": {}})
    outputs = [tmp_path / name for name in ("scores.parquet", "metrics.json", "samples.parquet")]
    flags = ["--runs", str(tmp_path / "runs.json"), "--config", CONFIG]
    for flag, path in zip(("--out-scores", "--out-metrics", "--out-samples"), outputs, strict=True):
        flags += [flag, str(path)]
    return flags, outputs


def test_matrix_metrics_and_intervals(tmp_path, files, capsys):
    flags, (scores_path, metrics_path, samples_path) = command(tmp_path, files)
    score.main(flags)

    rows = artifacts.read_table("scores", scores_path).to_pylist()
    assert [(r["task"], r["step"]) for r in rows] == [(t, s) for t in TASKS for s in (0, 1, 2)]
    for row in rows:
        assert row["value"] == MATRIX[row["step"]][TASKS.index(row["task"])]
        assert row["n"] == (4 if row["task"] == "shapes" else 2)
        assert row["n_unparsed"] == UNPARSED[row["task"], row["step"]]
        assert row["metric"] == ("choice" if row["task"] == "shapes" else "iou")
        assert (row["method"], row["seed"]) == ("dmole", 0)
        assert 0.0 <= row["low"] <= row["value"] <= row["high"] <= 100.0

    samples = artifacts.read_table("sample_scores", samples_path).to_pylist()
    assert len(samples) == 3 * (4 + 2)
    last = [row for row in samples if (row["task"], row["step"]) == ("shapes", 2)]
    assert [(row["sample_id"], row["score"], row["parsed"]) for row in last] == [
        ("s0", 100.0, True), ("s1", 100.0, True), ("s2", 100.0, True), ("s3", 0.0, False),
    ]  # fmt: skip
    assert {tuple(row["experts"]) for row in last} == {("boxes", "shapes")}
    assert {(row["run"], row["seed"]) for row in samples} == {("dmole", 0)}

    found = artifacts.read_json("metrics", metrics_path)
    assert found["tasks"] == TASKS
    (run,) = found["runs"]
    assert run["matrix"] == MATRIX
    values = {key: metric["value"] for key, metric in run["metrics"].items()}
    assert values == {
        "avg": 81.25,  # columns (100 + 75) / 2 and (50 + 100) / 2
        "last": 87.5,
        "bwt_dmole": -25.0,
        "bwt": -25.0,
        "bwt_n": -12.5,
        "mft": 100.0,
        "maa": 93.75,  # (100 + 87.5) / 2
        "fwt": 50.0,  # 50 - 0
        "forgetting": 25.0,
    }
    assert set(found["definitions"]) == set(values)
    printed = capsys.readouterr().out
    assert "dmole, seed 0" in printed and "87.50" in printed


def test_runs_keep_their_order_and_seeds_are_averaged(tmp_path, files):
    runs = [("zeta", 1), ("dmole", 0), ("zeta", 0)]
    flags, (scores_path, metrics_path, _) = command(tmp_path, files, runs)
    score.main(flags)
    rows = artifacts.read_table("scores", scores_path).to_pylist()
    assert list(dict.fromkeys((r["method"], r["seed"]) for r in rows)) == runs
    summary = artifacts.read_json("metrics", metrics_path)["summary"]
    assert [(s["method"], s["seeds"]) for s in summary] == [("zeta", [1, 0]), ("dmole", [0])]
    assert summary[0]["metrics"]["last"] == {"mean": 87.5, "std": 0.0}
    assert summary[1]["metrics"]["last"] == {"mean": 87.5, "std": None}


def test_same_inputs_same_bytes(tmp_path, files):
    written = []
    for _ in range(2):
        flags, outputs = command(tmp_path, files)
        score.main(flags)
        written.append([path.read_bytes() for path in outputs])
    assert written[0] == written[1]


def test_stages_without_routes_leave_cells_empty(tmp_path, files):
    """Joint training has no matrix: only the last row is there."""
    files["shapes"] = write(
        tmp_path, "shapes", "choice", SHAPES, routes_of(SHAPES, {2: ("boxes", "shapes")}),
        answers_of(SHAPES, SHAPE_ANSWERS),
    )  # fmt: skip
    flags, (_, metrics_path, _) = command(tmp_path, files)
    score.main(flags)
    (run,) = artifacts.read_json("metrics", metrics_path)["runs"]
    assert run["matrix"] == [[None, 0.0], [None, 50.0], [75.0, 100.0]]
    assert run["metrics"]["last"]["value"] == 87.5
    assert run["metrics"]["mft"] == {
        "value": None,
        "per_task": {"shapes": None, "boxes": 100.0},
        "missing": [{"step": 1, "task": "shapes"}],
    }


def test_a_shared_answer_is_scored_once():
    calls = []

    def scorer(sample, text):
        calls.append((sample, text))
        return 100.0, True

    routes = [{"sample_id": "x", "step": t, "experts": ["e"]} for t in range(5)]
    answers = [{"sample_id": "x", "experts": ["e"], "text": "hi"}]
    found = score.score_steps(["x"], routes, score.score_answers(scorer, ["x"], answers))
    assert calls == [("x", "hi")]
    assert found == {step: {"x": (100.0, True, ["e"])} for step in range(5)}


def drop(rows, n):
    return [row for i, row in enumerate(rows) if i != n]


GOOD_ROUTES = routes_of(SHAPES, SHAPE_STAGES)
GOOD_ANSWERS = answers_of(SHAPES, SHAPE_ANSWERS)


@pytest.mark.parametrize(
    ("rows", "routes", "answers", "words"),
    [
        (SHAPES, GOOD_ROUTES, drop(GOOD_ANSWERS, 5), "'s1' after step 1.*no prediction"),
        (SHAPES, drop(GOOD_ROUTES, 5), GOOD_ANSWERS, "'s1' has no route after step 1"),
        (SHAPES, [*GOOD_ROUTES, GOOD_ROUTES[5]], GOOD_ANSWERS, "'s1' is routed twice"),
        (SHAPES, GOOD_ROUTES, [*GOOD_ANSWERS, GOOD_ANSWERS[5]], "two predictions for sample 's1'"),
        (SHAPES[:3], GOOD_ROUTES, GOOD_ANSWERS, "'s3', which is no test row"),
        ([data_row("s0", ["C"], ["disc", "bar"])], [], [], "shapes_test.parquet: sample 's0'"),
    ],
)  # fmt: skip
def test_answers_that_do_not_join(tmp_path, files, capsys, rows, routes, answers, words):
    files["shapes"] = write(tmp_path, "shapes", "choice", rows, routes, answers)
    flags, outputs = command(tmp_path, files)
    with pytest.raises(SystemExit) as stopped:
        cli.run(score.main, flags)
    assert stopped.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert all(part in message for part in words.split(".*"))
    assert not any(path.exists() for path in outputs)


def fails(capsys, flags):
    with pytest.raises(SystemExit) as stopped:
        cli.run(score.main, flags)
    return stopped.value.code, capsys.readouterr().err


def test_files_in_the_wrong_place(tmp_path, files, capsys):
    shapes_data, shapes_routes, shapes_predictions = files["shapes"]
    mixed = {"shapes": [shapes_data, shapes_routes, files["boxes"][2]]}
    code, message = fails(capsys, command(tmp_path, mixed, tasks=["shapes"])[0])
    assert code == 1 and "boxes_predictions.parquet: of task 'boxes', expected 'sh" in message
    no_data = {"shapes": [shapes_routes, shapes_routes, shapes_predictions]}
    code, message = fails(capsys, command(tmp_path, no_data, tasks=["shapes"])[0])
    assert code == 1 and "expected test rows, found 'routes'" in message
    code, message = fails(capsys, command(tmp_path, files, tasks=["shapes", "boxed"])[0])
    assert code == 1 and "unknown task 'boxed'. Did you mean 'boxes'" in message
    code, message = fails(capsys, ["--runs", "none.json", *command(tmp_path, files)[0][2:]])
    assert code == 1 and "none.json: file not found" in message


def test_matrix_flag_prints_every_variant(tmp_path, capsys):
    path = tmp_path / "ucit.csv"
    path.write_text("after,a,b\n1,80,\n2,70,90\n")
    score.main(["--matrix", str(path)])
    found = json.loads(capsys.readouterr().out)
    assert found["bwt"] == {"value": -10.0, "per_task": {"a": -10.0}, "missing": []}
    assert found["maa"]["value"] == 80.0
    assert found["fwt"]["missing"] == [{"step": 0, "task": "b"}, {"step": 1, "task": "b"}]
    path.write_text("after,a,b\n1,80,x\n")
    code, message = fails(capsys, ["--matrix", str(path)])
    assert code == 1 and "line 2, column 'b': 'x'" in message


def test_incomplete_flags(tmp_path, files, capsys):
    code, message = fails(capsys, ["--config", CONFIG])
    assert code == 2 and "--runs, --out-scores, --out-samples, --out-metrics" in message
    code, message = fails(capsys, ["--matrix", "m.csv", "--runs", "a"])
    assert code == 2 and "--matrix stands alone" in message


def test_large_stream_of_captions_joins(tmp_path):
    """A mean over images of CIDEr x 100, whatever the order of the rows."""
    rows = [data_row(f"c{i}", [f"thing {i} on the road", f"a thing {i}"]) for i in range(200)]
    exact = [f"thing {i} on the road" for i in range(200)]
    order = np.random.default_rng(0).permutation(200)
    files = {
        "captions": write(
            tmp_path, "captions", "cider", rows,
            routes_of([rows[i] for i in order], {0: (), 1: ("captions",)}),
            answers_of(rows, {(): [""] * 200, ("captions",): exact}),
        )
    }  # fmt: skip
    flags, (scores_path, *_) = command(tmp_path, files, tasks=["captions"])
    score.main(flags)
    before, after = artifacts.read_table("scores", scores_path).to_pylist()
    assert (before["value"], before["low"], before["high"]) == (0.0, 0.0, 0.0)
    # each image's first reference is met exactly (10), the second in part
    assert 500.0 < after["value"] < 1000.0

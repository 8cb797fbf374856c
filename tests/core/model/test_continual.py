"""A finished model gives the answers of its run, whichever way it is asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.core.backbone import features
from stages.core.base import artifacts
from stages.core.base.errors import InputError
from stages.core.experts import saved
from stages.core.model.continual import ContinualModel
from tests.helpers.finished_run import TASKS
from tests.helpers.known_routers import write_constant_router

CHOICE = "tiny_choice"


@pytest.fixture(scope="module")
def models(small_run):
    """One model a method, loaded once."""
    names = ("dmole", "seq_ft", "cram", "prog_lora_dynamic", "individual")
    return {name: ContinualModel.load(small_run, method=name) for name in names}


def test_rows(root: Path, task: str) -> list[dict]:
    return artifacts.read_table("data", root / f"data/{task}/test.parquet").to_pylist()


test_rows.__test__ = False


def expected(root: Path, method: str, task: str, step: int) -> list[tuple[list[str], str]]:
    """Experts and text of every test row, joined from the run's routes and predictions."""
    folder = root / f"seed0/{method}"
    routes = artifacts.read_table("routes", folder / f"routes/{task}.parquet").to_pylist()
    answers = artifacts.read_table("predictions", folder / f"predictions/{task}.parquet")
    texts = {(r["sample_id"], tuple(r["experts"])): r["text"] for r in answers.to_pylist()}
    at = {row["sample_id"]: row["experts"] for row in routes if row["step"] == step}
    ids = [row["sample_id"] for row in test_rows(root, task)]
    return [(at[name], texts[name, tuple(at[name])]) for name in ids]


def questions(root: Path, task: str) -> list[tuple]:
    return [
        (row["images"][0]["bytes"], row["turns"][0]["question"], task)
        for row in test_rows(root, task)
    ]


@pytest.mark.parametrize("method", ["dmole", "seq_ft", "cram", "prog_lora_dynamic"])
def test_a_hundred_questions_are_answered_as_in_the_run(small_run, models, method: str) -> None:
    found, want = [], []
    for task in TASKS:
        asked = questions(small_run, task)
        found += [(a.experts, a.text) for a in models[method].ask_many(asked)]
        want += expected(small_run, method, task, step=3)
    assert len(want) == 102
    assert found == want
    assert len({text for _, text in want}) > 3  # else equal answers would say nothing


@pytest.mark.parametrize(("method", "step"), [("dmole", 0), ("dmole", 2), ("seq_ft", 1)])
def test_earlier_steps(small_run, models, method: str, step: int) -> None:
    model = models[method].at(step)
    asked = [question for task in TASKS for question in questions(small_run, task)]
    want = [pair for task in TASKS for pair in expected(small_run, method, task, step)]
    found = model.ask_many(asked)
    assert [(a.experts, a.text) for a in found] == want
    routed = step if method == "dmole" else 0
    assert all(list(a.ratios) == TASKS[:routed] for a in found)
    assert ContinualModel.load(small_run, step, method=method).ask(*asked[0]) == found[0]


def test_ratios_are_the_losses_by_their_thresholds(small_run, models) -> None:
    """The lowest is the ratio of the routes; an expert that answers is at or under 1."""
    file = small_run / "seed0/dmole/routes" / f"{CHOICE}.parquet"
    routes = [r for r in artifacts.read_table("routes", file).to_pylist() if r["step"] == 3]
    found = models["dmole"].ask_many(questions(small_run, CHOICE))
    for answer, route in zip(found, routes, strict=True):
        best = min(answer.ratios, key=answer.ratios.get)
        assert best == route["best_task"]
        assert answer.ratios[best] == pytest.approx(route["ratio"], rel=1e-6)
        assert sum(ratio <= 1 for ratio in answer.ratios.values()) == route["n_under"]
        assert not answer.experts or answer.ratios[answer.experts[0]] <= 1


def test_one_at_a_time_and_any_kind_of_image(small_run, models, tmp_path) -> None:
    model, asked = models["dmole"], questions(small_run, CHOICE)[:3]
    together = model.ask_many(asked)
    assert [model.ask(*question) for question in asked] == together
    file = tmp_path / "image.png"
    file.write_bytes(asked[0][0])
    for image in (file, str(file), Image.open(file)):
        assert model.ask(image, *asked[0][1:]) == together[0]
    route = model.route(*asked[0])
    assert (route.experts, route.ratios) == (together[0].experts, together[0].ratios)
    assert model.ask_many([]) == []


def test_features_are_those_of_the_run(small_run, models) -> None:
    table = artifacts.read_table("features", small_run / f"features/{CHOICE}.parquet")
    stored = table.to_pylist()[:4]
    model = models["dmole"]
    model.ask(*questions(small_run, CHOICE)[0])  # experts are active now
    for row, (image, text, _) in zip(stored, questions(small_run, CHOICE), strict=False):
        np.testing.assert_allclose(model.features(image, text), row["z"], atol=1e-6)


def test_requests_in_general_are_read_once(small_run, models, monkeypatch) -> None:
    """A hundred of them would make every answer slow, at any step."""
    model, read = models["dmole"].at(2), []
    row = test_rows(small_run, model.source.tasks[0])[0]
    model.losses([row], [["What is shown?"]])
    encode = features.text_features

    def watched(backbone, questions, *more):
        read.extend(questions)
        return encode(backbone, questions, *more)

    monkeypatch.setattr(features, "text_features", watched)
    model.at(1).losses([row], [["Where is the dog?"]])
    assert read == ["where is the dog"]


def test_the_question_counts(small_run, models) -> None:
    image, text, _ = questions(small_run, CHOICE)[0]
    plain, asked = models["dmole"].route(image, "Why?"), models["dmole"].route(image, text)
    assert plain.ratios != asked.ratios


def test_few_experts_in_memory_answer_alike(small_run, models, monkeypatch) -> None:
    monkeypatch.setattr(saved, "KEPT", 1)
    asked = questions(small_run, CHOICE)[:8]
    fresh = ContinualModel.load(small_run, method="dmole")
    assert fresh.ask_many(asked) == models["dmole"].ask_many(asked)


def test_a_task_that_is_not_told_has_room_for_its_answer(small_run, models) -> None:
    """12 tokens for boxes are the most of the three; letters have 2 when the task is told."""
    image, text, _ = questions(small_run, CHOICE)[0]
    texts = [models["cram"].ask(image, text, task).text for task in (CHOICE, None)]
    assert texts[1].startswith(texts[0])
    assert len(texts[0]) <= 2 < len(texts[1])


def test_a_method_that_is_told_the_task(small_run, models) -> None:
    model = models["individual"]
    image, text, _ = questions(small_run, CHOICE)[0]
    assert model.ask(image, text, CHOICE).experts == [CHOICE]
    assert model.at(1).route(image, text, "tiny_caption").experts == ["tiny_caption"]
    with pytest.raises(InputError, match="individual is told the task of every question"):
        model.ask(image, text)
    with pytest.raises(InputError, match="answers tiny_choice after the steps 0, 2, not .* 3"):
        model.at(3).ask(image, text, CHOICE)


def with_run(small_run: Path, root: Path, name: str, like: str, **entry) -> Path:
    """A copy of the run with one more in its sheet, which has the artefacts of another."""
    shutil.copytree(small_run, root)
    sheet = json.loads((root / "runs.json").read_text())
    sheet["config"]["variants"] = entry.pop("variants", {})
    model = next(run for run in sheet["runs"] if run["name"] == like)
    artefacts = model["artefacts"] | entry.pop("artefacts", {})
    sheet["runs"].append(model | entry | {"name": name, "artefacts": artefacts})
    (root / "runs.json").write_text(json.dumps(sheet))
    return root


def test_a_variant_has_its_own_rule(small_run, models, tmp_path) -> None:
    """Thresholds of 0.6 of their height and no second expert."""
    change = {"routing.second": "none", "routing.threshold_scale": 0.6}
    variants = {"narrow": {"method": "dmole", "set": change}}
    root = with_run(small_run, tmp_path / "run", "narrow", "dmole", variants=variants)
    asked = questions(small_run, "tiny_caption")[:12]
    found = ContinualModel.load(root, method="narrow").ask_many(asked)
    for narrow, plain in zip(found, models["dmole"].ask_many(asked), strict=True):
        want = {task: ratio / 0.6 for task, ratio in plain.ratios.items()}
        assert narrow.ratios == pytest.approx(want)
        assert len(narrow.experts) == (min(want.values()) <= 1)
        assert all(want[expert] <= 1 for expert in narrow.experts)


def test_methods_that_have_few_states(small_run, tmp_path) -> None:
    image, text, _ = questions(small_run, CHOICE)[0]
    root = with_run(small_run, tmp_path / "run", "zero_shot", "seq_ft", method="zero_shot")
    found = ContinualModel.load(root, method="zero_shot")
    assert [found.at(step).ask(image, text).experts for step in range(4)] == [[]] * 4
    root = with_run(small_run, tmp_path / "other", "joint", "seq_ft", method="joint")
    found = ContinualModel.load(root, method="joint")
    assert found.ask(image, text).experts == ["tiny_ground"]
    with pytest.raises(InputError, match="joint answers questions after the steps 0, 3, not .* 1"):
        found.at(1).ask(image, text)


def test_a_backbone_that_is_not_here(small_run, tmp_path) -> None:
    root = Path(shutil.copytree(small_run, tmp_path / "run"))
    sheet = json.loads((root / "runs.json").read_text())
    here, sheet["config"]["backbone"]["path"] = sheet["config"]["backbone"]["path"], "elsewhere"
    (root / "runs.json").write_text(json.dumps(sheet))
    with pytest.raises(InputError, match="its backbone elsewhere is not here; say where it lies"):
        ContinualModel.load(root)
    assert ContinualModel.load(root, backbone=here).backbone.path == here


def test_the_run_is_found_from_any_of_its_folders(small_run, models) -> None:
    for path in ("runs.json", "seed0", "seed0/seq_ft", "seed0/seq_ft/experts"):
        source = ContinualModel.load(small_run / path).source
        assert source.run == ("seq_ft" if "seq_ft" in path else "dmole")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "dmol"}, "unknown run 'dmol'. Did you mean 'dmole'"),
        ({"seed": 4}, "dmole was not run under seed 4"),
        ({"step": 4}, "no step 4; its steps are 0 to 3"),
        ({"step": -1}, "no step -1"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"backbone": "nowhere"}, "backbone nowhere: no such folder"),
    ],
)
def test_what_is_refused(small_run, given: dict, told: str) -> None:
    with pytest.raises(InputError) as raised:
        ContinualModel.load(small_run, **given)
    assert told in str(raised.value)


def test_no_run(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        ContinualModel.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither it nor a folder above holds runs.json"):
        ContinualModel.load(tmp_path)


def test_an_unknown_task(small_run, models) -> None:
    image, text, _ = questions(small_run, CHOICE)[0]
    with pytest.raises(InputError, match="question 1: unknown task 'tiny_choise'. Did you mean"):
        models["dmole"].ask(image, text, "tiny_choise")


@pytest.mark.parametrize(
    ("method", "file", "told", "step"),
    [
        ("dmole", "seed0/dmole/experts/tiny_ground", "the expert of tiny_ground is missing", 2),
        ("dmole", "seed0/routers/tiny_ground.json", "the router of tiny_ground is missing", 2),
        ("dmole", "seed0/transfers/tiny_ground.json", "the transfer of tiny_ground is missing", 2),
        ("cram", "seed0/cram/experts/tiny_ground", "the expert of tiny_ground is missing", 2),
        ("seq_ft", "data/tiny_choice/test.parquet", "these test rows are missing", None),
    ],
)
def test_a_run_that_is_half_finished(
    small_run, tmp_path, method: str, file: str, told: str, step: int | None
) -> None:
    """The missing part is named; steps that do not need it can be asked."""
    root = Path(shutil.copytree(small_run, tmp_path / "run"))
    gone = root / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(InputError, match=told) as raised:
        ContinualModel.load(root, method=method)
    assert str(gone) in str(raised.value)
    if step is not None:
        image, text, task = questions(small_run, CHOICE)[0]
        answer = ContinualModel.load(root, step, method=method).ask(image, text, task)
        assert (answer.experts, answer.text) == expected(small_run, method, CHOICE, step)[0]


def test_a_router_of_another_backbone_is_refused(small_run, tmp_path) -> None:
    root = Path(shutil.copytree(small_run, tmp_path / "run"))
    write_constant_router(root / "seed0/routers", "tiny_ground", [0.0] * 5)
    with pytest.raises(InputError, match="router of tiny_ground takes 5 features, .* gives 64"):
        ContinualModel.load(root, method="dmole")
